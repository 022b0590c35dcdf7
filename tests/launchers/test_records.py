"""Records of jobs, and following them over a lost connection."""

import pytest

from cannabis_ml.launchers.backend import JobState, LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.launching import follow, remote_of
from cannabis_ml.launchers.records import Progress, Records


def job(name):
    return Job(name=name, backend="local", command=("run", "--env", "full"))


def test_a_job_is_found_by_its_name_and_the_newest_as_last(tmp_path):
    records = Records(tmp_path)
    for name in ("b", "a"):
        records.create(job(name), Progress())
    assert [record.name for record in Records(tmp_path)] == ["b", "a"]
    assert records.find("last").name == "a"
    assert records.find("b").job == job("b")
    with pytest.raises(LaunchError, match="There is no job c"):
        records.find("c")
    with pytest.raises(LaunchError, match="There is a job b already"):
        records.create(job("b"), Progress())


def test_a_job_that_was_never_taken_is_told_apart(tmp_path):
    record = Records(tmp_path).create(job("a"), Progress())
    with pytest.raises(LaunchError, match=r"a was not started.*look for 'a' at local"):
        remote_of(record)


LINES = [f"line {i}" for i in range(10)]


class Unsteady:
    """A provider whose log breaks off after so many lines, again and again."""

    name = "local"

    def __init__(self, after):
        self.after, self.asked = after, []

    def logs(self, remote, seen):
        self.asked.append(seen)
        yield from LINES[seen : seen + self.after]
        if seen + self.after < len(LINES):
            raise LaunchError("connection reset")

    def state(self, remote):
        return JobState(phase="succeeded")


def test_a_log_that_breaks_off_is_shown_whole_and_once(tmp_path):
    record = Records(tmp_path).create(job("a"), Progress(remote="1"))
    shown, provider = [], Unsteady(after=3)
    assert follow(record, provider, shown.append, pause=0).phase == "succeeded"
    assert shown == LINES
    assert record.log.read_text() == "".join(f"{line}\n" for line in LINES)
    assert provider.asked == [0, 3, 6, 9]


def test_a_log_goes_on_where_a_closed_laptop_left_it(tmp_path):
    record = Records(tmp_path).create(job("a"), Progress(remote="1"))
    record.log.write_text("line 0\nline 1\nli")  # cut off in the middle of a line
    shown = []
    follow(record, Unsteady(after=10), shown.append, pause=0)
    assert shown == LINES[2:]
    assert record.log.read_text().splitlines() == LINES


def test_a_connection_that_never_comes_back_is_an_error_in_the_end(tmp_path):
    record = Records(tmp_path).create(job("a"), Progress(remote="1"))
    with pytest.raises(LaunchError, match="connection reset"):
        follow(record, Unsteady(after=0), print, pause=0)
