"""The run that tracks what is being made."""

from __future__ import annotations

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class TrackingRunDataset(AbstractDataset[None, "str | None"]):
    """Loads MLflow's id of the run that is going on; None where nothing is tracked.

    Args:
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata

    def load(self) -> str | None:
        import mlflow

        run = mlflow.active_run()
        return run.info.run_id if run else None

    def save(self, data: None) -> NoReturn:
        raise DatasetError("The run is MLflow's to start.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {}
