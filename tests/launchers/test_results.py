"""Results into data/ and runs into MLflow."""

import io
import json
import sqlite3
import tarfile
from contextlib import closing

import pytest

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.results import check_result, install, unpack
from cannabis_ml.launchers.runs import Store, import_runs

JOB = Job(name="x", backend="local", command=("run",))
OLD, NEW = "2026-11-01T10.00.00.000Z", "2026-11-28T10.00.00.000Z"


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def below(root):
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_versions_come_beside_versions(tmp_path):
    data = write(tmp_path / "data", **{f"06_models/tier3/c/{OLD}/c": "old"})
    came = write(
        tmp_path / "came",
        **{f"06_models/tier3/c/{NEW}/c": "new", f"08_reporting/matrices/{NEW}/matrices/a.png": "a"},
    )
    done = install(came, data, tmp_path / "aside")
    assert below(data) == {
        f"06_models/tier3/c/{OLD}/c": "old",
        f"06_models/tier3/c/{NEW}/c": "new",
        f"08_reporting/matrices/{NEW}/matrices/a.png": "a",
    }
    assert done.new == [f"06_models/tier3/c/{NEW}", f"08_reporting/matrices/{NEW}"]


def test_what_is_here_is_never_overwritten(tmp_path):
    here = {f"06_models/c/{NEW}/c": "mine", "09_tracking/lineage/a.json": "mine", "08/same": "x"}
    data = write(tmp_path / "data", **here)
    there = {
        f"06_models/c/{NEW}/c": "theirs",
        "09_tracking/lineage/a.json": "theirs",
        "08/same": "x",
    }
    done = install(write(tmp_path / "came", **there), data, tmp_path / "aside")
    assert below(data) == here
    assert (done.new, done.kept) == ([], ["08/same"])
    assert below(tmp_path / "aside") == {n: t for n, t in there.items() if t == "theirs"}


def test_to_install_again_goes_on_where_it_was_cut_off(tmp_path):
    files = {f"06_models/{name}/{NEW}/f": name for name in "abc"}
    data = write(tmp_path / "data", **{f"06_models/a/{NEW}/f": "a"})
    done = install(write(tmp_path / "came", **files), data, tmp_path / "aside")
    assert below(data) == files
    assert (len(done.new), len(done.kept), done.aside) == (2, 1, [])


@pytest.mark.parametrize(
    "name",
    ["../06_models/x", "/06_models/x", "06_models/../../x", "conf/local/x", "x", "envs/a/conf/x"],
)
def test_a_member_out_of_place_is_refused_and_nothing_unpacked(tmp_path, name):
    with tarfile.open(tmp_path / "r.tar.gz", "w:gz") as packed:
        for member in ("06_models/good", name):
            entry = tarfile.TarInfo(member)
            entry.size = 1
            packed.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(LaunchError, match=r"1 member of r\.tar\.gz cannot be a result"):
        unpack(tmp_path / "r.tar.gz", JOB, tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "r.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("06_models/x")
        entry.type, entry.linkname = kind, "/etc/passwd"
        packed.addfile(entry)
    with pytest.raises(LaunchError, match="'06_models/x'"):
        unpack(tmp_path / "r.tar.gz", JOB, tmp_path / "to")


def test_an_altered_archive_is_refused(tmp_path):
    (tmp_path / "results.tar.gz").write_bytes(b"abc")
    told = {
        "exit_code": 0,
        "seconds": 1,
        "cost_usd": None,
        "stopped": None,
        "attempts": 1,
        "sha256": file_sha256(tmp_path / "results.tar.gz"),
    }
    (tmp_path / "result.json").write_text(json.dumps(told))
    assert check_result(tmp_path).exit_code == 0
    (tmp_path / "results.tar.gz").write_bytes(b"ab")
    with pytest.raises(LaunchError, match=r"cut off or altered\. Fetch again"):
        check_result(tmp_path)


def test_stores_of_two_versions_are_not_mixed(tmp_path):
    store = Store(tmp_path / "here/mlflow.db", tmp_path / "here/artifacts", "mine")
    with closing(sqlite3.connect(tmp_path / "there.db")) as db, db:
        db.execute("CREATE TABLE alembic_version (version_num)")
        db.execute("INSERT INTO alembic_version VALUES ('of the future')")
    with pytest.raises(LaunchError, match=r"another version.*requirements\.lock"):
        import_runs(tmp_path / "there.db", tmp_path, store, {}, {})
