"""A folder for what a node keeps for its next run: states to resume from, things computed once."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml._io.remote import is_remote


class WorkspaceDataset(AbstractDataset[None, Path]):
    """Gives a node a folder of its own.

    What lies in it may be deleted at any time between runs; it saves time and decides no result.

    Args:
        filepath: Local folder; made when it is loaded.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        if is_remote(filepath):
            raise DatasetError(
                f"A workspace is a local folder, and {filepath} is not: nodes keep there what saves"
                " them time. Name a folder of this machine under `filepath`."
            )
        self.metadata = metadata
        self._filepath = Path(filepath)

    def load(self) -> Path:
        """The folder, there and empty if it was not there."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath.absolute()

    def save(self, data: None) -> NoReturn:
        raise DatasetError(f"{self._filepath} is a workspace: nodes write into it themselves.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
