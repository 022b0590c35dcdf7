"""Functions of Modal: an image from the lock, the package as last layer, a Volume that survives."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import modal
from modal.exception import (
    AuthError,
    Error,
    FunctionTimeoutError,
    InputCancellation,
    InternalFailure,
    OutputExpiredError,
    RemoteError,
)
from modal.types import InputStatus, LogEntry
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
)
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.package import START, Places, variables
from cannabis_ml.text import one_line

LOCKS = ("requirements.lock", "requirements-tflite.lock")
PACKAGE_PLACE, KEPT_PLACE = "/job/package.tar.gz", "/job/kept"

LONGEST_MINUTES, MOST_RETRIES = 24 * 60, 10
"""Limits of Modal for a function."""

GPUS = {"A10G": "A10", "A100": "A100-80GB"}
"""Modal's names of kinds of GPUs, where others call them otherwise."""

OVERLAP = timedelta(seconds=10)
"""Output is asked for again from so long before the last line on: some of it arrives late."""


class ModalSettings(BaseModel):
    """`backends.modal` in `launcher.yml`; credentials are those of `modal token set`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volume: str = Field(default="cannabis-ml-jobs", description="For states and results")
    secrets: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Secrets kept at Modal: name -> variables that it must have. Those of the job"
        " itself are sent",
    )
    environment: str | None = Field(default=None, description="Modal's environment; null: default")
    region: str | None = None
    poll_seconds: float = Field(default=3.0, gt=0, description="Between two looks for output")
    commit_seconds: float = Field(default=60.0, ge=0, description="Wait for results in the Volume")


class ModalBackend:
    """Jobs as calls of a Modal function, which Modal calls again when it takes a machine away.

    The job works on the disk of its container and mirrors its data into the Volume, which keeps
    what was written at some moment: in the middle of a transaction of SQLite, that is no database.
    """

    name = "modal"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = ModalSettings.model_validate(settings)

    def check(self, job: Job) -> None:
        if job.seconds_allowed > LONGEST_MINUTES * 60:
            raise LaunchError(
                f"modal ends a job after a day: set machine.minutes to at most {LONGEST_MINUTES}."
            )
        if job.attempts > MOST_RETRIES + 1:
            raise LaunchError(f"modal starts a job at most {MOST_RETRIES + 1} times: see attempts.")

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        machine, settings = job.machine, self._settings
        sha256 = file_sha256(package)
        kept = f"{KEPT_PLACE}/{job.name}"
        places = Places(
            package=PACKAGE_PLACE,
            work="/tmp/job/work",
            data="/tmp/job/data",
            results=f"{kept}/results",
            mirror=f"{kept}/data",
        )
        app = modal.App(f"cannabis-ml-{job.name}")
        with _told("send the job to Modal"), tempfile.TemporaryDirectory() as folder:
            volume = self._volume(create=True)
            function = app.function(
                image=_image(job, package, Path(folder)),
                env={**variables(job, places, sha256), "CANNABIS_ML_START": START},
                secrets=self._secrets(secrets),
                gpu=_gpus(machine),
                volumes={KEPT_PLACE: volume},
                cpu=machine.cpus / 2,  # Modal counts cores, of two virtual CPUs each
                memory=int(machine.memory_gb * 1024),
                retries=modal.Retries(
                    max_retries=job.attempts - 1, initial_delay=1.0, backoff_coefficient=1.0
                ),
                timeout=job.seconds_allowed,
                region=settings.region,
                single_use_containers=True,
            )(_entry().run)
            # Detached: the call goes on when this process ends.
            with app.run(detach=True, environment_name=settings.environment):
                call = function.spawn()
        return f"{call.object_id}/{job.name}"

    def state(self, remote: str) -> JobState:
        call = _call(remote)
        with _told(f"ask Modal for {remote}"):
            try:
                code = call.get(timeout=0)
            except TimeoutError:
                started = any(one.task_id for one in call.get_call_graph())
                return JobState(phase="running" if started else "queued")
            except FunctionTimeoutError:
                return JobState(phase="failed", message="ended by the time-out at Modal")
            except OutputExpiredError:
                return JobState(phase="failed", message="Modal has forgotten how the job ended")
            except (RemoteError, InternalFailure, InputCancellation, RuntimeError) as error:
                ends = {one.status for one in call.get_call_graph()}
                cancelled = InputStatus.TERMINATED in ends
                return JobState(
                    phase="cancelled" if cancelled else "failed", message=one_line(error)
                )
        return JobState(phase="failed" if code else "succeeded", message=f"exit code {code}")

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        with _told(f"read the output of {remote}"):
            yield from itertools.islice(_lines(self._output(remote)), seen, None)

    def cancel(self, remote: str) -> None:
        with _told(f"cancel {remote}"):
            _call(remote).cancel()

    def fetch(self, remote: str, to: Path) -> None:
        job = remote.partition("/")[2]
        volume = self._volume()
        until = time.monotonic() + self._settings.commit_seconds
        with _told(f"fetch the results of {job}"):
            for name in (RESULT_FILE, RESULTS_FILE):
                # The Volume has them once the container is gone, a moment after the call ended.
                while not _copied(volume, f"{job}/results/{name}", to / name):
                    if time.monotonic() > until:
                        raise LaunchError(f"{job} has left no {name} in the Volume.")
                    time.sleep(self._settings.poll_seconds)

    def _volume(self, create: bool = False) -> modal.Volume:
        settings = self._settings
        return modal.Volume.from_name(
            settings.volume, environment_name=settings.environment, create_if_missing=create
        )

    def _secrets(self, secrets: Mapping[str, SecretStr]) -> list[modal.Secret]:
        """Those that are kept at Modal, by name, and the job's own."""
        settings = self._settings
        kept = [
            modal.Secret.from_name(
                name, environment_name=settings.environment, required_keys=list(keys)
            )
            for name, keys in settings.secrets.items()
        ]
        sent = {name: value.get_secret_value() for name, value in secrets.items()}
        return [*kept, modal.Secret.from_dict(dict(sent))] if sent else kept

    def _output(self, remote: str) -> Iterator[str]:
        """What the job prints, in pieces as Modal has them, until it has ended."""
        call = _call(remote)
        since, known = None, Counter[tuple[object, ...]]()
        while True:
            ended = self.state(remote).ended
            found = Counter[tuple[object, ...]]()
            for entry in call.logs.fetch(since=since):
                found[key := _key(entry)] += 1
                if found[key] > known[key] and entry.source != "system":
                    yield entry.message
                since = max(entry.timestamp - OVERLAP, since or entry.timestamp - OVERLAP)
            if ended:
                return
            known = found or known
            time.sleep(self._settings.poll_seconds)


def _image(job: Job, package: Path, folder: Path) -> modal.Image:
    """The job's image, the packages of the lock, and last the package, which changes most."""
    image = modal.Image.from_registry(job.image)
    if "CANNABIS_ML_PYTHON" not in job.environment:
        with tarfile.open(package) as archive:
            archive.extractall(folder, [archive.getmember(name) for name in LOCKS], filter="data")
        lock, tflite_lock = (str(folder / name) for name in LOCKS)
        image = (
            image.uv_pip_install(requirements=[lock])
            .uv_pip_install(requirements=[tflite_lock], extra_options="--no-deps")
            .env({"CANNABIS_ML_PYTHON": "python"})
        )
    if isinstance(job.photos, FolderPhotos):
        image = image.add_local_dir(
            Path(job.photos.path).expanduser(), f"/tmp/job/data/{job.photos.to}"
        )
    return image.add_local_file(package, PACKAGE_PLACE)


def _gpus(machine: Machine) -> list[str] | None:
    if machine.gpu is None:
        return None
    kinds = [GPUS.get(kind, kind) for kind in (machine.gpu, *machine.fallbacks)]
    return [f"{kind}:{machine.gpus}" if machine.gpus > 1 else kind for kind in kinds]


def _entry() -> ModuleType:
    """`modal_entry.py` as a module of its own: Modal sends the package of a function's module."""
    name = "modal_entry"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _call(remote: str) -> modal.FunctionCall[int]:
    call: modal.FunctionCall[int] = modal.FunctionCall.from_id(remote.partition("/")[0])
    return call


def _key(entry: LogEntry) -> tuple[object, ...]:
    return entry.timestamp, entry.source, entry.message, *entry.context_ids


def _lines(texts: Iterator[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def _copied(volume: modal.Volume, name: str, to: Path) -> bool:
    try:
        with to.open("wb") as file:
            for piece in volume.read_file(name):
                file.write(piece)
    except FileNotFoundError:
        to.unlink()
        return False
    return True


@contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except AuthError as error:
        raise LaunchError(
            "Modal does not know you: run `modal token new`, or set MODAL_TOKEN_ID and"
            f" MODAL_TOKEN_SECRET ({one_line(error)})."
        ) from error
    except Error as error:
        raise LaunchError(f"Cannot {doing}: {one_line(error)}") from error
