"""What is written is whole or not at all, and nothing half-written stays."""

import signal
import subprocess
import sys

import pytest

from cannabis_ml.files import written_aside

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from cannabis_ml.files import written_aside
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
