"""The resolved taxonomy in the catalog."""

from __future__ import annotations

import json
from pathlib import Path

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.local import LocalDataset
from cannabis_ml.taxonomy import Taxonomy


class TaxonomyDataset(LocalDataset[Taxonomy, Taxonomy]):
    """Saves and loads a `Taxonomy` as JSON.

    Args:
        filepath: Local path of the `.json` file.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    def load(self) -> Taxonomy:
        path = Path(self._get_load_path())
        try:
            return Taxonomy.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DatasetError(f"{path} does not hold a taxonomy: {error}") from error

    def save(self, data: Taxonomy) -> None:
        with written_aside(Path(self._get_save_path())) as aside:
            text = json.dumps(data.model_dump(mode="json"), indent=2, ensure_ascii=False)
            aside.write_text(text + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The file, for kedro-viz."""
        return JSONPreview(Path(self._get_load_path()).read_text(encoding="utf-8"))
