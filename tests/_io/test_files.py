"""What is written is whole or not at all, and nothing half-written stays."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from kedro.io import DatasetError

from cannabis_ml._io.files import disk_full, no_room, written_aside
from cannabis_ml.errors import StorageError

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from cannabis_ml._io.files import written_aside
with written_aside(Path(sys.argv[1])) as aside:
    aside.mkdir()
    (aside / "x").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["old", None])
def test_file_is_replaced_at_the_end(content, tmp_path):
    path = tmp_path / "new" / "a.txt"
    if content:
        path.parent.mkdir()
        path.write_text(content)
    with written_aside(path) as aside:
        aside.write_text("new")
        assert path.exists() == bool(content)
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


def test_error_leaves_the_old_folder(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    (path / "x").write_text("old")

    def fail():
        with written_aside(path) as aside:
            aside.mkdir()
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert names(tmp_path) == ["set"]
    assert (path / "x").read_text() == "old"


@pytest.fixture
def writing(tmp_path):
    """A process that is in the middle of writing `tmp_path / "set"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / "set")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_next_write_removes_what_a_killed_process_left(writing, tmp_path):
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    assert names(tmp_path)[0].endswith(".part")
    (tmp_path / ".set.of another.part").touch()
    (tmp_path / ".settings.host-1-00000000.part").touch()
    with written_aside(tmp_path / "set") as aside:
        aside.write_text("new")
    assert names(tmp_path) == [".set.of another.part", ".settings.host-1-00000000.part", "set"]


def test_what_a_running_process_writes_stays(writing, tmp_path):
    with written_aside(tmp_path / "set") as aside:
        aside.write_text("new")
    assert len(names(tmp_path)) == 2
    assert next(tmp_path.glob(".*.part")).is_dir()


def test_names_with_wildcards(tmp_path):
    (tmp_path / ".ab.host-1-00000000.part").touch()
    with written_aside(tmp_path / "[ab]*") as aside:
        aside.write_text("new")
    assert "[ab]*" in names(tmp_path)
    assert ".ab.host-1-00000000.part" in names(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence_with_a_remedy(number, tmp_path):
    path = tmp_path / "set"
    path.write_text("old")

    def fill():
        with written_aside(path) as aside:
            aside.mkdir()
            (aside / "half").write_bytes(bytes(300_000))
            raise ValueError("wrapped") from OSError(number, os.strerror(number))

    with pytest.raises(StorageError, match=os.strerror(number)) as caught:
        fill()
    told = str(caught.value)
    assert str(path) in told
    assert "after 0.3 MB of it" in told
    assert "older one stays" in told
    assert "Make room" in told
    assert names(tmp_path) == ["set"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError("I/O error: File too large (os error 27)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_every_writer_reports_a_full_disk(error):
    assert disk_full(error) is error
    wrapped = ValueError("Failed while saving")
    wrapped.__cause__ = error
    assert disk_full(wrapped) is error
    repeating = DatasetError(f"Failed while saving: {error}")
    repeating.__cause__ = wrapped
    assert disk_full(repeating) is error
    assert "There is no room" in str(no_room(error))


def test_other_errors_do_not_mention_disks():
    assert disk_full(OSError(errno.EACCES, "Permission denied")) is None
    circle = ValueError("a")
    circle.__context__ = other = ValueError("b")
    other.__context__ = circle
    assert disk_full(circle) is None


def test_an_unwritten_file_on_a_full_disk(tmp_path):
    def fill():
        with written_aside(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")

    with pytest.raises(
        StorageError, match=r"after 0\.0 MB of it\. Nothing half-written was left\."
    ):
        fill()
    assert names(tmp_path) == []
