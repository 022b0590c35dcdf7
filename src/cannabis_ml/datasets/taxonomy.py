"""The resolved taxonomy in the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.taxonomy import Taxonomy


class TaxonomyDataset(AbstractDataset[Taxonomy, Taxonomy]):
    """Saves and loads a `Taxonomy` as JSON.

    Args:
        filepath: Local path of the `.json` file.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self._filepath = Path(filepath)

    def load(self) -> Taxonomy:
        try:
            return Taxonomy.model_validate_json(self._filepath.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DatasetError(f"{self._filepath} holds no taxonomy: {error}") from error

    def save(self, data: Taxonomy) -> None:
        with written_aside(self._filepath) as aside:
            text = json.dumps(data.model_dump(mode="json"), indent=2, ensure_ascii=False)
            aside.write_text(text + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The file, for kedro-viz."""
        return JSONPreview(self._filepath.read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
