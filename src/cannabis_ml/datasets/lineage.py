"""What every run read and wrote, in the catalog."""

from __future__ import annotations

from pathlib import Path

from kedro.io import DatasetError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml._io.remote import RemotePath, uploaded
from cannabis_ml.datasets.path import PathDataset


class RunVersions(BaseModel):
    """Versions of catalog entries that a run read and wrote."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(description="What all that the run wrote is called")
    read: dict[str, str] = Field(description="Version per entry")
    written: list[str] = Field(
        description="Entries; `read` has the version of one that was read too"
    )
    mlflow_run: str | None = Field(default=None, description="MLflow's id of the run")
    champion: str | None = Field(
        default=None, description="Id of the bundle whose weights it started from, where it did"
    )

    def version_of(self, name: str) -> str | None:
        """The version of an entry that nodes of this run got; None if they did not need it."""
        return self.read.get(name) or (self.version if name in self.written else None)


class LineageDataset(PathDataset[RunVersions, "dict[str, RunVersions]"]):
    """Saves what one run read and wrote, a JSON file per run; loads those of all runs by version.

    Saving the same run again replaces its file.

    Args:
        filepath: The folder; the other arguments are those of `PathDataset`.
    """

    MARKER = ""

    def load(self) -> dict[str, RunVersions]:
        if not self._exists():
            return {}
        return {path.stem: _read(path) for path in sorted(self.local_path().glob("[!.]*.json"))}

    def _is_there(self, path: Path | RemotePath) -> bool:
        return path.is_dir()  # each file of it is whole by itself

    def save(self, data: RunVersions) -> None:
        name, text = f"{data.version}.json", data.model_dump_json(indent=2) + "\n"
        if self.remote is not None:
            with uploaded(self.remote / name) as path:
                path.write_text(text, encoding="utf-8")
            return
        with written_aside(self.file(data.version)) as aside:
            aside.write_text(text, encoding="utf-8")

    def file(self, version: str) -> Path:
        """Where a run is kept on a local disk."""
        return Path(self._filepath) / f"{version}.json"

    def remove(self, version: str) -> None:
        """Forget a run."""
        if self.remote is not None:
            (self.remote / f"{version}.json").remove()
        else:
            self.file(version).unlink(missing_ok=True)


def _read(path: Path) -> RunVersions:
    try:
        return RunVersions.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DatasetError(f"{path} does not hold the versions of a run: {error}") from error
