"""Model files of one tier in the catalog."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.errors import CannabisMLError
from cannabis_ml.inference.model_file import ModelFile

__all__ = ["ModelFile", "ModelFilesDataset"]

INDEX = "index.json"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


class ModelFilesDataset(PathDataset[dict[str, ModelFile], dict[str, ModelFile]]):
    """Saves and loads several `ModelFile` by name, as files of one folder.

    A file is called `{name}.{quantization}.{format}`. `index.json` lists them with their SHA-256,
    which loading compares.

    Args:
        filepath: The folder; the other arguments are those of `PathDataset`.
    """

    MARKER = INDEX

    def load(self) -> dict[str, ModelFile]:
        folder = self.local_path()
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"]
            return {name: _read(folder, entry) for name, entry in index.items()}
        except FileNotFoundError as error:
            raise DatasetError(f"{error.filename} is missing. {_again()}") from error
        except (ValueError, KeyError, TypeError, AttributeError, CannabisMLError) as error:
            raise DatasetError(f"{folder / INDEX} is not an index ({error}). {_again()}") from error

    def save(self, data: dict[str, ModelFile]) -> None:
        for part in (*data, *(file.quantization for file in data.values())):
            if not _NAME.fullmatch(part):
                raise DatasetError(f"'{part}' cannot be part of a file's name.")
        index = {name: _entry(name, file) for name, file in data.items()}
        with self.saving() as path, written_aside(path) as aside:
            aside.mkdir()
            for name, file in data.items():
                (aside / index[name]["file"]).write_bytes(file.data)
            text = json.dumps({"files": index}, indent=2)
            (aside / INDEX).write_text(f"{text}\n", encoding="utf-8")


def _entry(name: str, file: ModelFile) -> dict[str, Any]:
    return {
        "file": f"{name}.{file.quantization}.{file.suffix}",
        "sha256": file.sha256,
        "bytes": len(file.data),
        "format": file.format,
        "quantization": file.quantization,
    }


def _read(folder: Path, entry: dict[str, Any]) -> ModelFile:
    if Path(entry["file"]).name != entry["file"]:
        raise DatasetError(f"{folder / INDEX} names {entry['file']}, which is not beside it.")
    path = folder / entry["file"]
    file = ModelFile(path.read_bytes(), entry["format"], entry["quantization"])
    if file.sha256 != entry["sha256"]:
        raise DatasetError(
            f"{path} ({len(file.data):,} bytes) is not the file that was saved: its SHA-256"
            f" differs. {_again()}"
        )
    return file


def _again() -> str:
    return "Export again, or restore it from where it was copied."
