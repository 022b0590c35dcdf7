"""The description of a job: what to run, on which machine, what goes up and what comes back.

It is stored and sent as JSON, so it contains names of secrets and never their values.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

RESERVE_SECONDS = 120
"""Kept back from the time that a job may take, for packing and sending its results."""


PROGRESS = "progress| "
"""Begins a line of output that is the newest state of a progress bar and no line of its own."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Frozen):
    """What the job runs on. A provider offers the nearest kind that has at least this."""

    gpu: str | None = Field(default=None, description="Kind of GPU, such as T4; none: CPU alone")
    fallbacks: tuple[str, ...] = Field(default=(), description="Kinds taken where `gpu` is not had")
    gpus: int = Field(default=1, ge=1, description="GPUs of this kind, where `gpu` is given")
    cpus: int = Field(default=4, ge=1, description="Virtual CPUs")
    memory_gb: float = Field(default=16, gt=0)
    disk_gb: float = Field(default=50, gt=0)
    minutes: float = Field(default=180, gt=0, description="Longest duration, all attempts together")
    spot: bool = Field(default=False, description="Cheaper, may be taken away in the middle")


class NoPhotos(_Frozen):
    """Nothing is sent: the environment draws sample photos or has photos there."""

    kind: Literal["none"] = "none"


class HubPhotos(_Frozen):
    """A data set of a Hugging Face hub, at one commit."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(description="OWNER/NAME", pattern=r"^[\w.-]+/[\w.-]+$")
    commit: str = Field(description="Commit, not a branch or tag", pattern=r"^[0-9a-f]{40}$")


def _below_data(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or pure.as_posix() != path:
        raise ValueError(f"{path!r} is not a plain path below data/, such as 06_models")
    return path


BelowData = Annotated[str, AfterValidator(_below_data)]


class FolderPhotos(_Frozen):
    """A folder of this machine, made the same there before the job starts."""

    kind: Literal["folder"] = "folder"
    path: str = Field(description="Folder here; `~` is the home folder")
    to: BelowData = Field(description="Where it is put there, below data/: 01_raw/photos")


Photos = Annotated[NoPhotos | HubPhotos | FolderPhotos, Field(discriminator="kind")]

RESULTS = ("06_models", "07_model_output", "08_reporting", "09_tracking")
"""Folders below data/ (or data/envs/ENV/) that come home where a job does not name others."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class JobBase(_Frozen):
    """What a job and `launcher.yml` both have.

    Attributes:
        environment: Variables set there. Not secret: they are visible at the provider.
        secrets: Names of variables whose values the provider's secret mechanism hands over.
        limit_usd: The job stops itself before it costs more; so does the provider by a time-out.
    """

    machine: Machine = Machine()
    image: str = "python:3.12-slim"
    environment: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    photos: Photos = NoPhotos()
    fetch: tuple[BelowData, ...] = RESULTS
    attempts: int = Field(default=1, ge=1)
    limit_usd: float | None = Field(default=None, gt=0)


class Job(JobBase):
    """One job, as it is recorded here and sent to the other machine.

    Attributes:
        name: Lower-case letters, digits and hyphens, at most 48: providers accept that as a name.
        command: Arguments of `python -m cannabis_ml`.
        usd_per_hour: Price of the machine at the time of submission; None where nothing is paid.
        options: Settings of the backend, such as region, bucket or host.
    """

    name: str
    backend: str
    command: tuple[str, ...]
    usd_per_hour: float | None = Field(default=None, ge=0)
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> Job:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"job name {self.name!r}: lower-case letters, digits and hyphens, at most 48,"
                " beginning with a letter"
            )
        if not self.command:
            raise ValueError("no command: such as run --env full --pipeline=train")
        for name in (*self.environment, *self.secrets):
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a variable")
        both = sorted(set(self.environment) & set(self.secrets))
        if both:
            raise ValueError(f"both in environment and in secrets: {', '.join(both)}")
        return self

    @property
    def seconds_allowed(self) -> int:
        """The provider's time-out: until the time or the money is used up, whichever is first."""
        seconds = self.machine.minutes * 60
        if self.limit_usd is not None and self.usd_per_hour:
            seconds = min(seconds, self.limit_usd / self.usd_per_hour * 3600)
        return max(1, int(seconds))

    @property
    def seconds_of_work(self) -> float:
        """When the job stops itself, so that its results still come home."""
        return self.seconds_allowed - min(RESERVE_SECONDS, 0.1 * self.seconds_allowed)
