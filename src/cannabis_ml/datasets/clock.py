"""The time, for nodes that must not look at a clock themselves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError


class ClockDataset(AbstractDataset[None, str]):
    """The time at which the run began, ISO 8601, UTC, to the second; read-only.

    Args:
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, metadata: dict[str, object] | None = None) -> None:
        self.metadata = metadata
        self._now = datetime.now(UTC).isoformat(timespec="seconds")

    def load(self) -> str:
        return self._now

    def save(self, data: None) -> NoReturn:
        raise DatasetError("ClockDataset is read-only: it gives the time at which the run began.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {}


class Stopwatch:
    """Runs from the moment that it is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began


class StopwatchDataset(AbstractDataset[None, Stopwatch]):
    """A stopwatch that runs since the run began; read-only.

    Args:
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, metadata: dict[str, object] | None = None) -> None:
        self.metadata = metadata
        self._stopwatch = Stopwatch()

    def load(self) -> Stopwatch:
        return self._stopwatch

    def save(self, data: None) -> NoReturn:
        raise DatasetError("StopwatchDataset is read-only: it runs since the run began.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {}
