"""Reports and rules in the catalog."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

from kedro.io import DatasetError, Version
from kedro_datasets._typing import JSONPreview
from pydantic import BaseModel, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.local import LocalDataset


class TypedJSONDataset(LocalDataset[BaseModel, BaseModel]):
    """Saves and loads a Pydantic model as JSON.

    Args:
        filepath: Local path of the `.json` file.
        model: The model's class, as `cannabis_ml.evaluation.scores.Evaluation`.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        model: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._model = model
        super().__init__(filepath=filepath, version=version, metadata=metadata)

    def load(self) -> BaseModel:
        path = Path(self._get_load_path())
        try:
            return self._class().model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DatasetError(
                f"{path} does not hold a {self._class().__name__}: {error}\nRun the node that"
                " writes it again, or restore the file."
            ) from error

    def save(self, data: BaseModel) -> None:
        if not isinstance(data, self._class()):
            raise DatasetError(f"{type(data).__name__} is not a {self._model}.")
        with written_aside(Path(self._get_save_path())) as aside:
            text = json.dumps(data.model_dump(mode="json"), indent=2, ensure_ascii=False)
            aside.write_text(f"{text}\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The file, for kedro-viz."""
        return JSONPreview(Path(self._get_load_path()).read_text(encoding="utf-8"))

    def _class(self) -> type[BaseModel]:
        """Imported where it is used: opening a catalog imports no room."""
        module, _, name = self._model.rpartition(".")
        found: type[BaseModel] = getattr(importlib.import_module(module), name)
        return found

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "model": self._model}
