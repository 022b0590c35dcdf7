"""What a provider of machines has to be able to do, and how one is opened."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from cannabis_ml.errors import CannabisMLError
from cannabis_ml.launchers.backends import BACKENDS
from cannabis_ml.launchers.job import Job, Machine

Phase = Literal["queued", "starting", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[Phase] = frozenset({"succeeded", "failed", "cancelled"})

RESULTS_FILE = "results.tar.gz"
RESULT_FILE = "result.json"


class LaunchError(CannabisMLError):
    """A job cannot be started, followed, ended or fetched."""


class JobState(BaseModel):
    """How far a job is, as its provider tells."""

    model_config = ConfigDict(frozen=True)

    phase: Phase
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = Field(default=1, ge=1)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ENDED


class HourlyPrice(BaseModel):
    """What a machine costs per hour, told by the provider itself."""

    model_config = ConfigDict(frozen=True)

    usd: float = Field(ge=0)
    what: str = Field(description="The provider's name of the machine")
    source: str


class Result(BaseModel):
    """`result.json`, written by the other machine beside `results.tar.gz`."""

    model_config = ConfigDict(frozen=True)

    exit_code: int
    seconds: float = Field(description="Of all attempts, from the start of each")
    cost_usd: float | None
    stopped: Literal["time", "limit", "signal"] | None = Field(
        description="time or limit: the job stopped itself; signal: it was told to end"
    )
    attempts: int = Field(ge=1)
    sha256: str = Field(description="Of results.tar.gz")


class Backend(Protocol):
    """A provider of machines.

    `remote` is the provider's id of a job, as `submit` returns it: a text that is enough, with the
    settings in `launcher.yml`, to find the job from another process days later.
    Every method raises `LaunchError` for what a person can mend; secrets never appear in one.
    """

    name: str

    def check(self, job: Job) -> None:
        """Refuse what this backend cannot do; called before anything is sent."""

    def price(self, machine: Machine) -> HourlyPrice | None:
        """Price that the provider tells now; None: the table in `launcher_prices.yml` counts."""

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        """Send the package (and a folder of photos, where there is one), start the job.

        `package.variables(job, …)` gives what to set there, `package.START` the command to run.
        `secrets` has a value for each name in `job.secrets`; use the provider's secret mechanism.
        """

    def state(self, remote: str) -> JobState:
        """How far the job is."""

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        """Lines of its output from line number `seen` on, as they come; ends when the job has."""

    def cancel(self, remote: str) -> None:
        """End it: SIGTERM where the provider can, so that results so far are kept."""

    def fetch(self, remote: str, to: Path) -> None:
        """Put `results.tar.gz` and `result.json` into the folder `to`, which is there and empty."""


def open_backend(name: str, settings: Mapping[str, Any]) -> Backend:
    """The backend of this name, with its settings of `launcher.yml`.

    Raises:
        LaunchError: There is none of this name, its extra is not installed, or a setting is wrong.
    """
    if name not in BACKENDS:
        raise LaunchError(f"'{name}' is not a backend; there are: {', '.join(BACKENDS)}.")
    module_name, class_name, extra = BACKENDS[name]
    try:
        module = importlib.import_module(f"cannabis_ml.launchers.backends.{module_name}")
        backend: Backend = getattr(module, class_name)(settings)
    except ImportError as error:
        raise LaunchError(
            f"The backend '{name}' needs a library that is not installed ({error}): pip install"
            f" 'cannabis_ml[{extra}]'."
        ) from error
    except ValidationError as error:
        raise LaunchError(f"launcher.yml, backends.{name}: {in_words(error)}.") from error
    return backend


def in_words(error: ValidationError) -> str:
    """What Pydantic found, by key; without the values, which may be secret."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'it'}: {re.sub('^Value error, ', '', one['msg'])}"
        for one in error.errors(include_input=False, include_url=False, include_context=False)
    )
