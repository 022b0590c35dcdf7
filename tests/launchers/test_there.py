"""What runs on the other machine."""

import os
import sys
import threading
from pathlib import Path

import pytest

from cannabis_ml.launchers.job import Job, Machine
from cannabis_ml.launchers.ledger import Ledger
from cannabis_ml.launchers.there import pass_on, small_terminal


def passed_on(*parts, seconds=10.0):
    """Lines that come out of parts of output, one every so many seconds."""
    reading, writing = os.pipe()
    lines, clock = [], iter(range(10**6))
    thread = threading.Thread(
        target=pass_on, args=(reading, lines.append, lambda: next(clock) * seconds)
    )
    thread.start()
    for part in parts:
        os.write(writing, part)
    os.close(writing)
    thread.join()
    os.close(reading)
    return lines


def test_lines_are_passed_on_whole_however_they_come():
    assert passed_on(b"one\ntw", b"o\r\nthree", b"\n\nfour") == ["one", "two", "three", "", "four"]


def test_a_character_that_is_cut_in_two_stays_one():
    text = "größer\n".encode()
    assert passed_on(text[:3], text[3:]) == ["größer"]


def test_states_of_a_progress_bar_are_marked_and_its_end_is_a_line():
    bar = b"\rphotos:  10%\rphotos:  50%\rphotos: 100%\n"
    shown = passed_on(bar)
    assert shown == ["progress| photos:  10%", "progress| photos:  50%", "photos: 100%"]


def test_few_states_of_a_progress_bar_are_passed_on():
    bar = b"".join(b"\r%d%%" % i for i in range(100)) + b"\ndone\n"
    shown = passed_on(bar, seconds=0.1)
    assert shown[-2:] == ["99%", "done"]
    assert 4 <= len(shown) <= 8  # a state every 2 of the 10 seconds


def test_colours_and_movements_of_the_cursor_are_left_out():
    assert passed_on(b"\x1b[31mError:\x1b[0m no photos\x1b[K\n") == ["Error: no photos"]


def test_a_terminal_is_read_to_its_end():
    ours, theirs = small_terminal()
    assert os.isatty(theirs)
    assert os.get_terminal_size(theirs).columns == 100
    lines = []
    thread = threading.Thread(target=pass_on, args=(ours, lines.append, iter(range(99)).__next__))
    thread.start()
    os.write(theirs, b"epoch 1\nphotos: 10%\r")
    os.close(theirs)
    thread.join()
    assert lines == ["epoch 1", "photos: 10%"]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def job(**other):
    return Job(name="x", backend="local", command=("run",), **other)


def test_time_and_money_count_on_over_attempts(tmp_path):
    clock, description = Clock(), job(usd_per_hour=3.6)
    first = Ledger(tmp_path / "x.json", description, clock)
    first.begin(clock.now - 20)  # the machine had started before
    clock.now += 100
    first.note()
    clock.now += 3  # killed: what was not noted is not known
    second = Ledger(tmp_path / "x.json", description, clock)
    second.begin(clock.now)
    clock.now += 50
    assert (second.attempts, second.seconds) == (2, pytest.approx(170))
    assert second.cost_usd == pytest.approx(0.17)


@pytest.mark.parametrize(
    ("given", "seconds", "reason"),
    [
        ({"machine": Machine(minutes=100)}, 6000 - 120, "time"),
        ({"limit_usd": 1.0, "usd_per_hour": 2.0}, 1800 - 120, "limit"),
        ({"limit_usd": 0.1, "usd_per_hour": 3.6}, 100 - 10, "limit"),
        ({"limit_usd": 9.0, "usd_per_hour": 1.0, "machine": Machine(minutes=10)}, 540, "time"),
    ],
)
def test_it_stops_itself_before_time_or_money_is_used_up(tmp_path, given, seconds, reason):
    clock = Clock()
    ledger = Ledger(tmp_path / "x.json", job(**given), clock)
    ledger.begin(clock.now)
    clock.now += seconds - 1
    assert ledger.used_up() is None
    clock.now += 1
    assert ledger.used_up() == reason


def test_a_command_that_was_killed_has_not_ended(tmp_path):
    ledger = Ledger(tmp_path / "x.json", job(), Clock())
    ledger.begin(0)
    ledger.command_ended(-9)
    assert (ledger.ended, ledger.exit_status) == (False, 137)
    ledger.command_ended(2)
    assert (ledger.ended, ledger.exit_status) == (True, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can do that")
def test_the_command_does_not_outlive_what_started_it(tmp_path):
    import signal
    import subprocess
    import time

    code = (
        "import subprocess, sys, time\n"
        "from cannabis_ml.launchers.there import die_with_parent\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    while Path(f"/proc/{child}").exists() and "Z" not in state_of(child):
        time.sleep(0.01)


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
