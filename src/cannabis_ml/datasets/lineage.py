"""What every run read and wrote, in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import written_aside


class RunVersions(BaseModel):
    """Versions of catalog entries that a run read and wrote."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(description="What all that the run wrote is called")
    read: dict[str, str] = Field(description="Version per entry")
    written: list[str] = Field(description="Entries; one that is read too was read as `read` says")
    mlflow_run: str | None = Field(default=None, description="MLflow's id of the run")

    def version_of(self, name: str) -> str | None:
        """The version of an entry that nodes of this run got; None if they did not need it."""
        return self.read.get(name) or (self.version if name in self.written else None)


class LineageDataset(AbstractDataset[RunVersions, "dict[str, RunVersions]"]):
    """Saves what one run read and wrote, a JSON file per run; loads those of all runs by version.

    Saving the same run again replaces its file.

    Args:
        filepath: Local folder.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self._filepath = Path(filepath)

    def load(self) -> dict[str, RunVersions]:
        return {path.stem: _read(path) for path in sorted(self._filepath.glob("[!.]*.json"))}

    def save(self, data: RunVersions) -> None:
        with written_aside(self.file(data.version)) as aside:
            aside.write_text(data.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def file(self, version: str) -> Path:
        """Where a run is kept."""
        return self._filepath / f"{version}.json"

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _read(path: Path) -> RunVersions:
    try:
        return RunVersions.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DatasetError(f"{path} does not hold the versions of a run: {error}") from error
