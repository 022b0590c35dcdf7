"""Reports and rules in the catalog."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import BaseModel, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset


class TypedJSONDataset(PathDataset[BaseModel, BaseModel]):
    """Saves and loads a Pydantic model as JSON.

    Args:
        filepath: The `.json` file; the other arguments are those of `PathDataset`.
        model: The model's class, as `cannabis_ml.evaluation.scores.Evaluation`.
    """

    def __init__(self, *, filepath: str | os.PathLike[str], model: str, **options: Any) -> None:
        self._model = model
        super().__init__(filepath=filepath, **options)

    def load(self) -> BaseModel:
        path = self.local_path()
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
        with self.saving() as path, written_aside(path) as aside:
            text = json.dumps(data.model_dump(mode="json"), indent=2, ensure_ascii=False)
            aside.write_text(f"{text}\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The file, for kedro-viz."""
        return JSONPreview(self.local_path().read_text(encoding="utf-8"))

    def _class(self) -> type[BaseModel]:
        """Imported where it is used: opening a catalog imports no room."""
        module, _, name = self._model.rpartition(".")
        model: type[BaseModel] = getattr(importlib.import_module(module), name)
        return model

    def _describe(self) -> dict[str, object]:
        return {**super()._describe(), "model": self._model}
