"""Buckets as file systems: whole objects, and errors that name what to do."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from uuid import uuid4

import fsspec
import pytest

from cannabis_ml._io.object_storage_clients import AzureStorage, GoogleStorage, S3Storage
from cannabis_ml._io.remote import RemotePath
from cannabis_ml.errors import StorageError

SECRETS = ("hush-hush-hush", "wrong-hush")
PARTS = 12_000_000
"""Bytes of a file that pyarrow uploads in parts."""


@pytest.fixture(params=["s3", "gs", "az"])
def storage(request):
    """A file system, and an empty folder of it."""
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        return S3Storage(**server.options, skip_instance_cache=True), f"hemp/{uuid4().hex}"
    if request.param == "az":
        azurite = request.getfixturevalue("azurite")
        return AzureStorage(**azurite, skip_instance_cache=True), f"hemp/{uuid4().hex}"
    server = request.getfixturevalue("gcs")
    return GoogleStorage(**server.options, skip_instance_cache=True), f"hemp/{uuid4().hex}"


@pytest.fixture
def at_s3(s3):
    return S3Storage(**s3.options, skip_instance_cache=True), f"hemp/{uuid4().hex}"


def test_what_is_written_is_there_and_nothing_else(storage, tmp_path):
    fs, root = storage
    (tmp_path / "file").write_bytes(b"from a file")
    (tmp_path / "empty").touch()
    fs.pipe_file(f"{root}/v/1/v", b"one")
    fs.put_file(str(tmp_path / "file"), f"{root}/v/2/v")
    fs.put_file(str(tmp_path / "empty"), f"{root}/v/deep/er/empty")
    with fs.open(f"{root}/text", "w", encoding="utf-8") as file:
        file.write("Blüte")
    assert fs.find(root) == [
        f"{root}/{name}" for name in ("text", "v/1/v", "v/2/v", "v/deep/er/empty")
    ]
    assert fs.find(root, maxdepth=2, withdirs=True) == [
        f"{root}/{name}" for name in ("text", "v", "v/1", "v/2", "v/deep")
    ]
    assert fs.glob(f"{root}/v/*/v") == [f"{root}/v/1/v", f"{root}/v/2/v"]
    assert sorted(fs.ls(f"{root}/v", detail=False)) == [f"{root}/v/{n}" for n in ("1", "2", "deep")]
    assert (fs.isdir(f"{root}/v"), fs.isfile(f"{root}/v"), fs.exists(f"{root}/x")) == (1, 0, 0)
    assert (fs.isfile(f"{root}/v/1/v"), fs.isdir(f"{root}/v/1/v")) == (True, False)
    assert fs.cat_file(f"{root}/v/2/v") == b"from a file"
    assert fs.cat_file(f"{root}/v/2/v", 5, 9) == b"a fi"
    assert fs.cat_file(f"{root}/v/deep/er/empty") == b""
    with fs.open(f"{root}/text", "r", encoding="utf-8") as file:
        assert file.read() == "Blüte"
    fs.get_file(f"{root}/v/1/v", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"one"
    assert abs(fs.modified(f"{root}/text").timestamp() - time.time()) < 3600
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{root}/x")
    fs.mv(f"{root}/text", f"{root}/moved")
    fs.rm(f"{root}/v", recursive=True)
    assert fs.find(root) == [f"{root}/moved"]


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_an_error_while_writing_leaves_the_older_object(storage, mode):
    fs, root = storage
    fs.pipe_file(f"{root}/a", b"old")

    def write_and_fail(name):
        with fs.open(f"{root}/{name}", mode) as file:
            file.write("half" if mode == "w" else b"half")
            raise RuntimeError("no more")

    for name in ("a", "b"):
        with pytest.raises(RuntimeError, match="no more"):
            write_and_fail(name)
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(fs, AzureStorage):  # its client empties an object before it uploads it
            patch.setattr(fs, "cp_file", lambda *_: write_and_fail("b"))
            with pytest.raises(RuntimeError, match="no more"):
                fs.pipe_file(f"{root}/a", b"new")
    forgotten = fs.open(f"{root}/c", "wb")
    forgotten.write(b"half")
    del forgotten
    assert {path: fs.cat_file(path) for path in fs.find(root)} == {f"{root}/a": b"old"}


def test_an_upload_that_the_service_breaks_off_leaves_no_object(at_s3, s3):
    fs, root = at_s3
    second = s3.failing(lambda request: (400, "BadDigest") if "partNumber=2" in request else None)
    with second, pytest.raises(StorageError, match=f"failed to write s3://{root}/big"):
        fs.pipe_file(f"{root}/big", bytes(PARTS))
    del fs
    fs = S3Storage(**s3.options, skip_instance_cache=True)
    assert fs.find(root) == []
    fs.pipe_file(f"{root}/big", bytes(PARTS))
    assert fs.info(f"{root}/big")["size"] == PARTS


def test_an_upload_that_is_killed_leaves_the_older_object(at_s3, s3):
    fs, root = at_s3
    fs.pipe_file(f"{root}/big", b"old")
    code = (
        "import json, sys; from cannabis_ml._io.object_storage_clients import S3Storage\n"
        f"S3Storage(**json.loads(sys.argv[1])).pipe_file('{root}/big', bytes({PARTS}))"
    )
    waiting = []

    def hold(request):
        if "partNumber=2" not in request:
            return None
        waiting.append(request)
        while child.poll() is None:
            time.sleep(0.01)
        return 500, "InternalError"

    child = subprocess.Popen([sys.executable, "-c", code, json.dumps(s3.options)])
    with s3.failing(hold):
        while not waiting:
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
        child.wait()
    assert fs.cat_file(f"{root}/big") == b"old"


def test_an_upload_to_azure_that_is_killed_leaves_the_older_object_and_a_part(azurite):
    fs, root = AzureStorage(**azurite, skip_instance_cache=True), f"hemp/{uuid4().hex}"
    fs.pipe_file(f"{root}/a", b"old")
    child = os.fork()
    if not child:
        fs.cp_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # before it is in its place
        fs.pipe_file(f"{root}/a", b"new")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert fs.cat_file(f"{root}/a") == b"old"
    folder = RemotePath(fs, root)
    assert set(folder.files()) == {"a"}
    (part,) = folder.unfinished_files()
    assert part.startswith("a.")
    (folder / part).remove()
    assert fs.find(root) == [f"{root}/a"]


@pytest.mark.parametrize("answer", [(403, "AccessDenied"), (400, "Broken")])
def test_what_cannot_be_asked_is_not_taken_for_missing(at_s3, s3, answer):
    """A ledger that cannot be reached is not an empty ledger."""
    fs, root = at_s3
    fs.pipe_file(f"{root}/ledger", b"x")
    with s3.failing(lambda request: answer):
        for ask in (fs.exists, fs.isfile, fs.isdir, fs.find):
            with pytest.raises(StorageError):
                ask(f"{root}/ledger")
        with pytest.raises(StorageError):
            RemotePath(fs, f"{root}/ledger").is_file()


def error(fs, path="hemp/x"):
    with pytest.raises(StorageError) as caught:
        fs.pipe_file(path, b"x")
    text = str(caught.value)
    assert not any(secret in text + repr(caught.value) + repr(fs) for secret in SECRETS)
    return text


def test_a_bucket_that_is_not_there(at_s3):
    text = error(at_s3[0], "hmep/x")
    assert text.startswith("There is no bucket s3://hmep (to write s3://hmep/x).\nMake it, or mend")
    assert "`data` in globals.yml" in text


def test_a_bucket_of_google_that_is_not_there(gcs):
    text = error(GoogleStorage(**gcs.options, skip_instance_cache=True), "hmep/x")
    assert text.startswith("There is no bucket gs://hmep (to write gs://hmep/x).")


def test_no_permission(at_s3, s3):
    with s3.failing(lambda r: (403, "AccessDenied") if r.startswith("PUT") else None):
        text = error(at_s3[0])
    assert "does not allow this account to write s3://hemp/x" in text
    assert "from credentials.yml" in text
    assert "s3:PutObject" in text


def test_a_key_that_the_service_does_not_know(s3):
    options = {**s3.options, "key": "unknown", "secret": "wrong-hush"}
    text = error(S3Storage(**options, skip_instance_cache=True))
    assert "does not accept these credentials" in text
    assert "conf/local/credentials.yml" in text


def test_no_credentials_at_all(s3, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    text = error(S3Storage(skip_instance_cache=True))
    assert "No credentials were found: neither in conf/local/credentials.yml" in text
    assert "AWS_ACCESS_KEY_ID" in text


def test_credentials_of_the_environment(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    fs = S3Storage(skip_instance_cache=True)
    fs.pipe_file("hemp/environment", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
    text = error(S3Storage(skip_instance_cache=True))
    assert "those of AWS_ACCESS_KEY_ID in the environment" in text


def test_a_service_that_is_not_reached(s3):
    options = {**s3.options, "endpoint_url": "http://127.0.0.1:1"}
    text = error(S3Storage(**options, skip_instance_cache=True))
    assert text.startswith("Amazon S3 cannot be reached (to write s3://hemp/x).")


def test_options_that_no_client_knows():
    text = error(S3Storage(kye="a", secret="wrong-hush", skip_instance_cache=True))
    assert "options that it does not know: kye." in text
    assert "anon, client_kwargs, endpoint_url, key, secret, token" in text


def test_a_key_file_of_google_that_is_not_there(tmp_path):
    text = error(GoogleStorage(token=str(tmp_path / "key.json"), skip_instance_cache=True))
    assert f"The key file of Google Cloud Storage, {tmp_path}/key.json, does not exist" in text


def test_azure_needs_an_account(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    text = error(AzureStorage(skip_instance_cache=True))
    assert "needs the name of the storage account" in text


def test_a_file_system_travels_to_another_process(at_s3):
    fs, root = at_s3
    fs.pipe_file(f"{root}/a", b"x")
    assert pickle.loads(pickle.dumps(fs)).cat_file(f"{root}/a") == b"x"


def test_a_process_that_was_forked_connects_anew(at_s3):
    fs, root = at_s3
    fs.pipe_file(f"{root}/a", b"x")
    child = os.fork()
    if not child:
        os._exit(fs.cat_file(f"{root}/a") != b"x")
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("protocol", ["s3", "s3a", "gs", "gcs", "az", "abfs"])
def test_fsspec_opens_addresses_with_ours(object_storage, protocol):
    fs, path = fsspec.core.url_to_fs(f"{protocol}://bucket/a/b", skip_instance_cache=True)
    assert type(fs).__module__ == "cannabis_ml._io.object_storage_clients"
    assert path == "bucket/a/b"
    shown = {"s3a": "s3", "gcs": "gs", "abfs": "az"}.get(protocol, protocol)
    assert fs.unstrip_protocol(path) == f"{shown}://bucket/a/b"


def test_registering_loads_no_client():
    code = (
        "import sys; from cannabis_ml._io.storage_protocols import register; register();"
        " print([m for m in ('pyarrow', 'boto3', 's3fs', 'gcsfs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
