"""Jobs that another tool runs, such as SkyPilot: what it is given, and what it has brought."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr

from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
)
from cannabis_ml.launchers.job import Job, Machine

PACKED = "packed"
"""Name of the backend in the records of such jobs."""


class PackedBackend:
    """Takes results from a folder of this machine; all else is up to the other tool.

    Args:
        folder: Has `results.tar.gz` and `result.json`; None: not known yet.
    """

    name = PACKED

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def check(self, job: Job) -> None:
        """Refuse nothing."""

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        raise _elsewhere(job.name)

    def state(self, remote: str) -> JobState:
        raise _elsewhere(remote)

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        raise _elsewhere(remote)

    def cancel(self, remote: str) -> None:
        raise _elsewhere(remote)

    def fetch(self, remote: str, to: Path) -> None:
        if self._folder is None:
            raise _elsewhere(remote)
        for name in (RESULTS_FILE, RESULT_FILE):
            if not (self._folder / name).is_file():
                raise LaunchError(f"There is no {name} in {self._folder}.")
            shutil.copyfile(self._folder / name, to / name)


def _elsewhere(name: str) -> LaunchError:
    return LaunchError(
        f"{name} was packed for another tool: ask that. Once it has brought the results into a"
        f" folder: launch fetch {name} --from FOLDER"
    )
