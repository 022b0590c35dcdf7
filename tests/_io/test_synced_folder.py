"""Folders that follow each other."""

import os
import shutil

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cannabis_ml._io import synced_folder
from cannabis_ml._io.remote import RemotePath
from cannabis_ml._io.synced_folder import Follower, SyncedFolder


@pytest.fixture
def remote():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    return RemotePath.at("memory://work/space")


def put(folder, name, text, when=None):
    """As `written_aside` does: another file takes the place."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / ".aside.part").write_text(text)
    if when is not None:
        os.utime(folder / ".aside.part", (when, when))
    (folder / ".aside.part").replace(path)
    return path


def there(remote):
    return {name: remote.fs.cat_file((remote / name).path).decode() for name in remote.files()}


def here(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_what_changed_here_is_changed_there(remote, tmp_path, monkeypatch):
    sent, real = [], MemoryFileSystem.put_file
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda *a, **o: (sent.append(a[2]), real(*a, **o))
    )
    folder = SyncedFolder(remote, tmp_path)
    folder.pull()
    put(tmp_path, "runs/a/state.pt", "1")
    put(tmp_path, "features/x.npy", "f")
    folder.push()
    assert there(remote) == {"runs/a/state.pt": "1", "features/x.npy": "f"}
    sent.clear()
    put(tmp_path, "runs/a/state.pt", "2")
    folder.push()
    assert (len(sent), there(remote)["runs/a/state.pt"]) == (1, "2")
    shutil.rmtree(tmp_path / "runs")
    folder.push()
    assert there(remote) == {"features/x.npy": "f"}
    assert here(tmp_path) == {"features/x.npy": "f"}


def test_what_is_referred_to_is_there_before_what_refers_to_it(remote, tmp_path, monkeypatch):
    folder = SyncedFolder(remote, tmp_path)
    folder.pull()
    for when, name in enumerate(("z-best.pt", "a-state.pt"), start=1_000_000_000):
        put(tmp_path, name, name, when)
    sent, real = [], RemotePath.upload
    monkeypatch.setattr(
        RemotePath, "upload", lambda self, local: (sent.append(self.name), real(self, local))
    )
    folder.push()
    assert sent == ["z-best.pt", "a-state.pt"]


def test_a_moment_is_uploaded_though_files_change_meanwhile(remote, tmp_path, monkeypatch):
    """A state never stands there without the weights that it names."""
    folder = SyncedFolder(remote, tmp_path)
    folder.pull()
    put(tmp_path, "state", "best-1")
    put(tmp_path, "best-1", "w")
    real, changes = synced_folder._link, iter(range(2, 5))

    def link_while_training_goes_on(source, target):
        real(source, target)
        epoch = next(changes, None)
        if epoch is not None:
            put(tmp_path, f"best-{epoch}", "w")
            put(tmp_path, "state", f"best-{epoch}")
            (tmp_path / f"best-{epoch - 1}").unlink()

    monkeypatch.setattr(synced_folder, "_link", link_while_training_goes_on)
    folder.push()
    files = there(remote)
    assert files == {"state": files["state"], files["state"]: "w"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_another_machine_gets_what_is_there_and_only_that(remote, tmp_path):
    one, other = (SyncedFolder(remote, tmp_path / name) for name in ("one", "other"))
    one.pull()
    put(tmp_path / "one", "runs/old/state", "1", 1_000_000_000)
    one.push()
    put(tmp_path / "one", "runs/new/state", "2")
    one.push()
    put(tmp_path / "other", "runs/stray/state", "x")
    other.pull()
    assert here(tmp_path / "other") == {"runs/old/state": "1", "runs/new/state": "2"}
    runs = sorted((tmp_path / "other/runs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert [path.name for path in runs if any(path.iterdir())] == ["old", "new"]


def test_what_is_the_same_is_brought_once(remote, tmp_path, monkeypatch):
    folder = SyncedFolder(remote, tmp_path / "one")
    folder.pull()
    put(tmp_path / "one", "state", "1")
    folder.push()
    brought, real = [], MemoryFileSystem.get_file
    monkeypatch.setattr(
        MemoryFileSystem, "get_file", lambda *a, **o: (brought.append(a[1]), real(*a, **o))
    )
    SyncedFolder(remote, tmp_path / "one").pull()
    assert brought == []
    SyncedFolder(remote, tmp_path / "two").pull()
    SyncedFolder(remote, tmp_path / "two").pull()
    assert len(brought) == 1


def test_a_follower_uploads_at_the_end_and_survives_a_broken_line(
    remote, tmp_path, monkeypatch, caplog
):
    folder = SyncedFolder(remote, tmp_path)
    folder.pull()
    put(tmp_path, "state", "1")

    def broken(*_, **__):
        raise OSError("the line is down")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", broken)
        follower = Follower(folder, 0.01)
        while "the line is down" not in caplog.text:
            pass
    follower.stop()
    assert there(remote) == {"state": "1"}
