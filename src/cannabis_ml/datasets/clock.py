"""The time, for nodes that must not look at a clock themselves."""

from __future__ import annotations

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
