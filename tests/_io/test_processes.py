import os
import signal
import subprocess
import sys
import time

import pytest

from cannabis_ml._io.processes import Helpers


def until_elsewhere(helpers, seconds=20):
    """Keep calling until a process of its own answers; returns its id."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid = helpers.run(os.getpid)
        if pid != os.getpid():
            return pid
        time.sleep(0.01)
    return pytest.fail("no process came up")


def test_little_work_starts_no_process():
    with Helpers(2, start_after=5) as helpers:
        assert {helpers.run(os.getpid) for _ in range(5)} == {os.getpid()}
        assert helpers._pool is None


def test_one_worker_is_this_process():
    with Helpers(1, start_after=0) as helpers:
        assert helpers.run(os.getpid) == os.getpid()
        assert helpers._pool is None


@pytest.mark.slow
def test_much_work_moves_to_processes_and_they_end():
    with Helpers(2, start_after=0) as helpers:
        pid = until_elsewhere(helpers)
        with pytest.raises(ValueError, match="invalid literal"):
            helpers.run(int, "x")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PARENT = """
import os, time
from cannabis_ml._io.processes import Helpers
if __name__ == "__main__":
    helpers = Helpers(2, start_after=0)
    while (pid := helpers.run(os.getpid)) == os.getpid():
        time.sleep(0.01)
    print(pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process outlived its parent")
