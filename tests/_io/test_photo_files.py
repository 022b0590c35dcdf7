"""A photo's bytes come from its path or from its URL; a network that fails is not its defect."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from cannabis_ml._io.engine import Engine
from cannabis_ml._io.photo_files import file_size, read_file
from cannabis_ml._io.remote import RemotePath
from cannabis_ml.errors import EngineError, SourceError
from cannabis_ml.photos.checks.examined_file import examine_file
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.nodes import index_photos
from cannabis_ml.pipelines.ingestion.params import IndexParams


@pytest.fixture(scope="module")
def web(encode):
    """A web server of one photo; `web.refusals` are the answers that it gives first."""
    photo = encode()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(with_body=False)

        def do_GET(self):
            self._answer(with_body=True)

        def _answer(self, with_body):
            status = server.refusals.pop(0) if server.refusals else 200
            if status == 200 and self.path != "/photo.jpg":
                status = 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(photo) if status == 200 else 0))
            self.end_headers()
            if with_body and status == 200:
                self.wfile.write(photo)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.refusals, server.photo = [], photo
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_a_photo_is_read_by_its_url_or_its_path(web, tmp_path):
    (tmp_path / "a.jpg").write_bytes(web.photo)
    for path in (f"{web.url}/photo.jpg", str(tmp_path / "a.jpg")):
        assert read_file(path) == web.photo
        assert file_size(path) == len(web.photo)
    assert file_size(str(tmp_path)) is None


def test_what_is_not_there_is_missing(web, tmp_path):
    for path in (f"{web.url}/other.jpg", str(tmp_path / "other.jpg")):
        with pytest.raises(FileNotFoundError):
            read_file(path)
        assert examine_file(path, DefectParams()).failure.defect == "missing"


def test_a_network_that_fails_once_is_asked_again(web):
    web.refusals = [503]
    assert read_file(f"{web.url}/photo.jpg") == web.photo


def test_credentials_or_libraries_that_lack_are_not_a_defect_of_photos():
    with pytest.raises(SourceError, match=r"nowhere://b/a\.jpg cannot be read"):
        examine_file("nowhere://b/a.jpg", DefectParams())


def listed(paths):
    known = {"source": "s", "group": None, "given_split": None, "colour": "red"}
    return pd.DataFrame({"path": paths, **known})


def test_workers_of_a_cluster_read_urls(web, dask_cluster, taxonomy, tmp_path, write_photo):
    paths = [f"{web.url}/photo.jpg", f"{web.url}/gone.jpg", str(write_photo(tmp_path / "b.jpg", 1))]
    with dask_cluster() as cluster:
        cluster.add_worker()
        engine = Engine(dask=cluster.address, chunk=1)
        found = index_photos(listed(paths), taxonomy, IndexParams(), DefectParams(), engine)
    expected = index_photos(listed(paths), taxonomy, IndexParams(), DefectParams())
    pd.testing.assert_frame_equal(found, expected)
    assert found["defect"].fillna("").tolist() == ["", "missing", ""]


def test_workers_read_a_bucket_with_the_credentials_of_their_environment(
    s3, object_storage, web, dask_cluster, taxonomy, monkeypatch
):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with RemotePath.at("s3://hemp/plants/a.jpg", s3.options).fs.open(
        "hemp/plants/a.jpg", "wb"
    ) as f:
        f.write(web.photo)
    paths = ["s3://hemp/plants/a.jpg", "s3://hemp/plants/b.jpg"]
    with dask_cluster() as cluster:
        cluster.add_worker()
        engine = Engine(dask=cluster.address)
        found = index_photos(listed(paths), taxonomy, IndexParams(), DefectParams(), engine)
    assert found["bytes"].tolist()[0] == len(web.photo)
    assert found["defect"].fillna("").tolist() == ["", "missing"]


def test_workers_that_see_another_disk_end_the_run(
    dask_cluster, taxonomy, tmp_path, write_photo, monkeypatch
):
    """Their photos would be set aside as missing."""
    write_photo(tmp_path / "here.jpg")
    monkeypatch.chdir(tmp_path)
    paths = ["/proc/self/cwd/here.jpg"]  # of each process its own folder
    with dask_cluster() as cluster:
        monkeypatch.chdir(tmp_path.parent)
        cluster.add_worker()
        monkeypatch.chdir(tmp_path)
        engine = Engine(dask=cluster.address)
        with pytest.raises(EngineError, match=r"do not see 1 photos .* such as .*here\.jpg"):
            index_photos(listed(paths), taxonomy, IndexParams(), DefectParams(), engine)
