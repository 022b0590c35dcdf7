"""The resolved taxonomy in the catalog."""

from __future__ import annotations

import json

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.taxonomy import Taxonomy


class TaxonomyDataset(PathDataset[Taxonomy, Taxonomy]):
    """Saves and loads a `Taxonomy` as JSON.

    Args:
        filepath: The `.json` file; the other arguments are those of `PathDataset`.
    """

    def load(self) -> Taxonomy:
        path = self.local_path()
        try:
            return Taxonomy.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DatasetError(f"{path} does not hold a taxonomy: {error}") from error

    def save(self, data: Taxonomy) -> None:
        with self.saving() as path, written_aside(path) as aside:
            text = json.dumps(data.model_dump(mode="json"), indent=2, ensure_ascii=False)
            aside.write_text(text + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The file, for kedro-viz."""
        return JSONPreview(self.local_path().read_text(encoding="utf-8"))
