"""Files and folders of other file systems."""

import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cannabis_ml._io.remote import RemotePath, downloads, is_remote, local_copy, uploaded


@pytest.fixture
def remote():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    return RemotePath.at("memory://a/b")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/x", True),
        ("memory://x", True),
        ("file:///tmp/x", False),
        ("data/x", False),
        ("C:\\photos\\x", False),
        ("/a:b/c", False),
    ],
)
def test_an_address_is_not_a_path(path, expected):
    assert is_remote(path) is expected


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_comes_back_as_it_went_and_replaces_the_older(remote, tmp_path):
    first = {"a.txt": "1", "deep/b.txt": "2"}
    remote.upload(write(tmp_path / "first", first))
    remote.download(tmp_path / "back")
    assert read(tmp_path / "back") == first
    remote.upload(write(tmp_path / "second", {"c.txt": "3"}))
    remote.download(tmp_path / "back")
    assert read(tmp_path / "back") == {"c.txt": "3"}
    assert remote.names() == {"c.txt"}


def test_the_last_file_is_uploaded_last(remote, tmp_path, monkeypatch):
    put, real = [], MemoryFileSystem.put_file

    def note(self, local, target, **options):
        put.append(Path(local).name)
        real(self, local, target, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", note)
    remote.upload(write(tmp_path / "x", dict.fromkeys(["a", "index", "z"], "")), last="index")
    assert put == ["a", "z", "index"]


def test_an_error_while_writing_uploads_nothing(remote):
    def write_and_fail():
        with uploaded(remote) as path:
            path.write_text("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_and_fail()
    assert not remote.is_file()
    assert remote.parent.names() == set()


def test_what_is_written_beside_goes_along(remote):
    with uploaded(remote) as path:
        path.write_text("one")
        path.with_name("b.zip").write_text("two")
    assert remote.parent.names() == {"b", "b.zip"}


def test_a_broken_download_leaves_the_older_copy(remote, tmp_path, monkeypatch):
    remote.upload(write(tmp_path / "x", {"a": "1", "b": "2"}))
    remote.download(tmp_path / "copy")

    def broken(self, source, target, **_):
        Path(target).write_text("half")
        raise OSError("the line is down")

    monkeypatch.setattr(MemoryFileSystem, "get_file", broken)
    with pytest.raises(OSError, match="the line is down"):
        remote.download(tmp_path / "copy")
    assert read(tmp_path / "copy") == {"a": "1", "b": "2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "x"]


def test_what_cannot_have_changed_is_brought_once(remote, tmp_path):
    remote.upload(write(tmp_path / "x", {"a": "1"}))
    assert read(local_copy(remote, fresh=False)) == {"a": "1"}
    remote.upload(write(tmp_path / "y", {"a": "2"}))
    assert read(local_copy(remote, fresh=False)) == {"a": "1"}
    assert read(local_copy(remote)) == {"a": "2"}


def test_nothing_there_is_an_error_and_no_names(remote, tmp_path):
    assert (remote / "gone").names() == set()
    with pytest.raises(FileNotFoundError):
        (remote / "gone").download(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    (remote / "gone").remove()


def test_copies_end_with_the_process():
    code = "from cannabis_ml._io.remote import downloads; print(downloads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()
    assert downloads().is_dir()
