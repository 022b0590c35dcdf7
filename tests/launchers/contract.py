"""What every backend of `cannabis_ml launch` has to do; each has a test module that uses it.

    class TestLocal(Contract):
        @pytest.fixture
        def place(self, tmp_path):
            yield Place(open_backend("local", {…}), preempt=…, wire=…)

Behind each is a stand-in that takes the provider's requests and runs what it is sent, with the
interpreter of the tests (`CANNABIS_ML_PYTHON`).
"""

import contextlib
import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parent))
from quick_python import quick_python

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import Backend
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.launching import collect, follow, start
from cannabis_ml.launchers.package import pack
from cannabis_ml.launchers.records import Progress, Records
from cannabis_ml.launchers.runs import Store

PROJECT = Path(__file__).parents[2]
SECRET = "wsprfl-8c1f0b62d4"
"""Value of the secret of these tests: to be searched for in all that is written and sent."""

TRAINING = (
    "run",
    "--env",
    "test",
    "--pipeline=train",
    "--to-outputs=tier3.training_curves,tier3.checkpoint",
)
EPOCHS = 12
FIRST, SECOND = f"epoch 1/{EPOCHS}", f"epoch 2/{EPOCHS}"
"""In lines that `TRAINING` logs. At the second the first epoch's state is certainly kept, and
enough epochs follow that the machine can be taken away before the last.
"""

COUNT = '''
"""Prints what it is told, counts until the number given, and keeps what it counted to."""
import hashlib, os, pathlib, signal, sys, time

def end(number, _):
    print("told to end", flush=True)
    sys.exit(128 + number)

signal.signal(signal.SIGTERM, end)
secret = os.environ.get("PLANT_TOKEN", "")
print("secret", hashlib.sha256(secret.encode()).hexdigest(), flush=True)
kept = pathlib.Path("data/08_reporting/counted.txt")
kept.parent.mkdir(parents=True, exist_ok=True)
print("went on from", kept.read_text() if kept.exists() else "nothing", flush=True)
for i in range(int(sys.argv[1])):
    print("line", i, flush=True)
    aside = kept.with_name(".counted.part")
    aside.write_text(str(i))
    aside.replace(kept)
    time.sleep(0.05)
'''
"""A command of seconds, for what does not need a training: COUNTING = ("3",) prints three lines."""


@dataclass
class Place:
    """A backend, with the stand-in behind it.

    Attributes:
        backend: Opened with settings that lead to the stand-in.
        preempt: `preempt(remote)` takes the machine away: kills all processes of the job with
            SIGKILL; the provider (or its stand-in) starts another attempt, as it would.
        wire: All that was sent to the provider besides its store of secrets and the package:
            addresses, headers and bodies. The secret must not be in it.
        packages: Archives that were sent.
        environment: Variables that the jobs need besides `CANNABIS_ML_PYTHON`.
        machine: What the jobs ask for, where the default does not do.
        can_end_softly: Whether `cancel` gives the job time to write its results.
        tells_attempts: Whether the provider tells which attempt is running.
    """

    backend: Backend
    preempt: Callable[[str], None]
    wire: Callable[[], bytes]
    packages: Callable[[], list[Path]]
    environment: dict[str, str] = field(default_factory=dict)
    machine: Machine = field(default_factory=lambda: Machine(minutes=20))
    can_end_softly: bool = True
    tells_attempts: bool = True

    def job(self, *command, **other):
        environment = {
            "CANNABIS_ML_PYTHON": quick_python(),
            "OMP_NUM_THREADS": "1",
            **self.environment,
            **other.pop("environment", {}),
        }
        given = {"name": f"job-{time.monotonic_ns() % 10**9}", "machine": self.machine, **other}
        return Job(backend=self.backend.name, command=command, environment=environment, **given)

    def submit(self, project, job, tmp_path, secrets=None):
        package = tmp_path / f"{job.name}.tar.gz"
        pack(project, job, package)
        self.backend.check(job)
        return self.backend.submit(job, package, secrets or {})

    def home(self, remote, tmp_path):
        """The result that came home, and the names of the files of its archive with their bytes."""
        to = tmp_path / "fetched"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        self.backend.fetch(remote, to)
        result = json.loads((to / "result.json").read_text())
        assert file_sha256(to / "results.tar.gz") == result["sha256"]
        return result, files_of(to / "results.tar.gz")

    def until(self, remote, *phases):
        while (state := self.backend.state(remote)).phase not in phases:
            assert not state.ended, state
            time.sleep(0.1)
        return state


def files_of(archive):
    """Bytes of every file of a .tar.gz by name."""
    with tarfile.open(archive) as packed:
        return {m.name: packed.extractfile(m).read() for m in packed if m.isfile()}


def git(project, *arguments):
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(
        ["git", "-C", project, *name, *arguments], check=True, capture_output=True, text=True
    )


def private_project(to):
    """This project as a git checkout, with private files, tracked and ignored."""
    for name in ("src", "conf", "pyproject.toml", "requirements.lock", "requirements-tflite.lock"):
        source = PROJECT / name
        if source.is_file():
            shutil.copy(source, to / name)
        else:
            skipped = shutil.ignore_patterns("__pycache__", "node_modules", "built*", "local")
            shutil.copytree(source, to / name, ignore=skipped)
    shutil.copy(PROJECT / ".gitignore", to)
    for name in PRIVATE:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text(f"private: {name}")
    git(to, "init", "--quiet")
    git(to, "add", "--all")
    git(to, "add", "--force", "conf/local/tracked.yml", "data/01_raw/tracked.csv")
    return to


def check_runs(runs, store, job):
    """The runs of both attempts are here, with metrics, parameters, tags, figures."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store.database}")
    killed, finished = (client.get_run(run) for run in runs)
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    for run in (killed, finished):
        tags = run.data.tags
        assert (tags["launch.job"], tags["launch.backend"]) == (job.name, job.backend)
        assert tags["git_commit"] == "c0ffee"
        assert run.data.params["tier3.model.image_size"] == "64"
        assert run.data.metrics["launch.attempts"] == 2
    losses = client.get_metric_history(runs[1], "tier3.train_loss")
    steps = [point.step for point in losses]
    assert steps == list(range(1, EPOCHS + 1))  # of both attempts
    assert all(point.value > 0 for point in losses)
    figure = store.artifacts / runs[1] / "artifacts/figures/tier3/training_curves.png"
    assert finished.info.artifact_uri == (store.artifacts / runs[1] / "artifacts").as_uri()
    assert figure.read_bytes().startswith(b"\x89PNG")


PRIVATE = (
    "conf/local/credentials.yml",
    "conf/local/tracked.yml",
    "data/01_raw/photos/1.jpg",
    "data/01_raw/tracked.csv",
    "mlruns/0/meta.yaml",
    "src/cannabis_ml/__pycache__/x.pyc",
    ".venv/bin/token",
)


class Contract:
    """The tests; a class that derives from it has a fixture `place`."""

    @pytest.fixture(scope="class")
    def project(self, tmp_path_factory):
        """The project itself: its command trains."""
        project = private_project(tmp_path_factory.mktemp("project"))
        parameters = project / "conf/test/parameters_training.yml"
        text = parameters.read_text()
        short, longer = "name: top, epochs: 1,", f"name: top, epochs: {EPOCHS - 2},"
        assert text.count(short) == 1
        patience = f"training: {{patience: {EPOCHS}}}"
        parameters.write_text(f"{text.replace(short, longer)}\n{patience}\n")
        return project

    @pytest.fixture(scope="class")
    def counting(self, tmp_path_factory):
        """The project with a command that counts."""
        project = private_project(tmp_path_factory.mktemp("counting"))
        (project / "src/cannabis_ml/__main__.py").write_text(COUNT)
        return project

    @pytest.mark.slow
    def test_a_training_that_was_preempted_resumes_and_comes_home(self, place, project, tmp_path):
        job = place.job(*TRAINING, attempts=2, secrets=("PLANT_TOKEN",))
        record = Records(tmp_path / "launches").create(job, Progress(commit="c0ffee"))
        place.backend.check(job)
        remote = start(record, project, place.backend, {"PLANT_TOKEN": SecretStr(SECRET)})
        lines, preempted = [], False

        def show(line):
            nonlocal preempted
            lines.append(line)
            if SECOND in line and not preempted:
                preempted = True
                place.preempt(remote)

        state = follow(record, place.backend, show)
        attempt = 2 if place.tells_attempts else 1
        assert (state.phase, state.attempt) == ("succeeded", attempt), "\n".join(lines[-40:])
        text = "\n".join(lines)
        assert "Resuming the same training" in text
        assert text.count(FIRST) == 1
        assert record.log.read_text("utf-8").splitlines() == lines

        data = tmp_path / "data"
        store = Store(data / "09_tracking/mlflow.db", data / "09_tracking/artifacts", "here")
        result, installed, runs = collect(record, place.backend, data, store)
        assert (result.exit_code, result.stopped, result.attempts) == (0, None, 2)
        assert len(list(data.glob("envs/test/06_models/tier3/checkpoint.safetensors/*Z/*"))) == 1
        assert not list(data.glob("envs/test/06_models/*/workspace"))
        check_runs(runs, store, job)
        again = collect(record, place.backend, data, store)
        assert (again[1].new, again[1].aside, again[2]) == ([], [], runs)
        assert sorted(again[1].kept) == sorted(installed.new)
        kept = [p for root in (record.folder, data) for p in root.rglob("*") if p.is_file()]
        assert store.database in kept
        assert not [path for path in kept if SECRET.encode() in path.read_bytes()]

    def test_logs_come_from_any_line_on(self, place, counting, tmp_path):
        remote = place.submit(counting, place.job("3"), tmp_path)
        lines = list(place.backend.logs(remote, 0))
        assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1", "line 2"]
        assert place.backend.state(remote).phase == "succeeded"
        for seen in (1, len(lines) - 1, len(lines)):
            assert list(place.backend.logs(remote, seen)) == lines[seen:]

    def test_logs_come_while_it_runs(self, place, counting, tmp_path):
        remote = place.submit(counting, place.job("100000"), tmp_path)
        logs = place.backend.logs(remote, 0)
        assert any("line 3" in line for line in itertools.islice(logs, 1000))
        assert place.backend.state(remote).phase == "running"
        logs.close()
        place.backend.cancel(remote)
        place.until(remote, "cancelled")

    def test_cancel_ends_it(self, place, counting, tmp_path):
        remote = place.submit(counting, place.job("100000", attempts=3), tmp_path)
        assert any(line == "line 5" for line in place.backend.logs(remote, 0))
        place.backend.cancel(remote)
        state = place.until(remote, "cancelled")
        assert state.attempt == 1
        if place.can_end_softly:
            assert "told to end" in list(place.backend.logs(remote, 0))
            result, files = place.home(remote, tmp_path)
            assert result["stopped"] == "signal"
            assert int(files["08_reporting/counted.txt"]) >= 5

    def test_the_spending_limit_holds_and_results_so_far_come_home(self, place, counting, tmp_path):
        job = place.job("100000", limit_usd=0.03, usd_per_hour=18.0, attempts=3)  # 6 seconds
        remote = place.submit(counting, job, tmp_path)
        lines = list(place.backend.logs(remote, 0))
        assert place.backend.state(remote).phase == "failed"
        assert any("Stopped: the limit of $0.03 is reached" in line for line in lines)
        result, files = place.home(remote, tmp_path)
        assert (result["stopped"], result["exit_code"]) == ("limit", 143)
        assert ("08_reporting/counted.txt" in files) == ("line 0" in lines)

    def test_a_failed_command_is_not_paid_for_again(self, place, counting, tmp_path):
        remote = place.submit(counting, place.job("no number", attempts=3), tmp_path)
        lines = list(place.backend.logs(remote, 0))
        assert place.backend.state(remote).phase == "failed"
        assert sum(line.startswith("went on from") for line in lines) == 1
        result, _ = place.home(remote, tmp_path)
        assert (result["exit_code"], result["stopped"]) == (1, None)

    def test_nothing_private_is_sent(self, place, counting, tmp_path):
        place.submit(counting, place.job("1"), tmp_path)
        (package,) = place.packages()
        files = files_of(package)
        assert "src/cannabis_ml/__main__.py" in files
        assert "conf/test/globals.yml" in files
        assert not set(PRIVATE) & set(files)
        everything = gzip.decompress(package.read_bytes()) + place.wire()
        for name in PRIVATE:
            assert f"private: {name}".encode() not in everything

    def test_a_secret_arrives_and_is_written_nowhere(self, place, counting, tmp_path, caplog):
        import hashlib

        job = place.job("1", secrets=("PLANT_TOKEN",))
        remote = place.submit(counting, job, tmp_path, {"PLANT_TOKEN": SecretStr(SECRET)})
        lines = list(place.backend.logs(remote, 0))
        assert f"secret {hashlib.sha256(SECRET.encode()).hexdigest()}" in lines
        (package,) = place.packages()
        written = [
            "\n".join(lines).encode(),
            gzip.decompress(package.read_bytes()),
            place.wire(),
            caplog.text.encode(),
            str(place.backend.state(remote)).encode(),
        ]
        assert not any(SECRET.encode() in part for part in written)


class RestartingContract(Contract):
    """Also of providers that start another attempt by themselves and tell its number."""

    def test_a_preempted_job_goes_on_where_it_was(self, place, counting, tmp_path):
        job = place.job("60", attempts=2)
        remote = place.submit(counting, job, tmp_path)
        lines = []
        for line in place.backend.logs(remote, 0):
            lines.append(line)
            if line == "line 5" and lines.count(line) == 1:
                place.preempt(remote)
        assert place.backend.state(remote).attempt == 2
        assert sum("went on from nothing" in line for line in lines) == 1


def send_photos(place, project, tmp_path, count):
    """Run a job with a folder of so many photos; the folder, and the setting that names it."""
    folder = tmp_path / "photos"
    for i in range(count):
        (folder / str(i)).mkdir(parents=True)
        (folder / str(i) / "leaf one.jpg").write_bytes(b"photo %d" % i)
    photos = FolderPhotos(path=str(folder), to="01_raw/photos")
    job = place.job("1", photos=photos)
    list(place.backend.logs(place.submit(project, job, tmp_path), 0))
    return folder, photos


def photos_of(folder):
    """Bytes of every photo below a folder, by its path there."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.jpg")}


def check_photos_are_there_and_not_mirrored(place, project, tmp_path, kept):
    """A folder of photos comes to the job, and not into `kept`, which has the mirrors of jobs."""
    (tmp_path / "leaves/oak").mkdir(parents=True)
    (tmp_path / "leaves/oak/1.jpg").write_bytes(b"\xff\xd8 a leaf")
    photos = FolderPhotos(path=str(tmp_path / "leaves"), to="01_raw/leaves")
    job = place.job("1", photos=photos, fetch=("01_raw/leaves",))
    remote = place.submit(project, job, tmp_path)
    assert list(place.backend.logs(remote, 0))
    _, files = place.home(remote, tmp_path)
    assert files == {"01_raw/leaves/oak/1.jpg": b"\xff\xd8 a leaf"}
    names = {path.name for path in (kept() / job.name / "data").rglob("*")}
    assert "counted.txt" in names
    assert not {"01_raw", "1.jpg"} & names


def kill_group_of(pid):
    """Kill a process and all that it started with SIGKILL, as when a machine is switched off."""
    for process in [pid, *_descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, 9)


def _descendants(pid):
    found, children = [], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


__all__ = [
    "Contract",
    "Place",
    "RestartingContract",
    "check_photos_are_there_and_not_mirrored",
    "files_of",
    "kill_group_of",
    "photos_of",
    "private_project",
    "send_photos",
]
