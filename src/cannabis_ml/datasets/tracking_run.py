"""The active MLflow run in the catalog."""

from __future__ import annotations

from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError


class TrackingRunDataset(AbstractDataset[None, "str | None"]):
    """Id of the active MLflow run, None if no run is active; read-only.

    Args:
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, metadata: dict[str, object] | None = None) -> None:
        self.metadata = metadata

    def load(self) -> str | None:
        import mlflow

        run = mlflow.active_run()
        return run.info.run_id if run else None

    def save(self, data: None) -> NoReturn:
        raise DatasetError("TrackingRunDataset is read-only: MLflow starts the run.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {}
