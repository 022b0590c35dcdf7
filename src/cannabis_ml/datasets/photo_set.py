"""Photo sets in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.photo_sets.photo_set import PhotoStream, labels_of, write_stream

if TYPE_CHECKING:
    import datasets


class PhotoSetDataset(AbstractDataset["PhotoStream | datasets.Dataset", "datasets.Dataset"]):
    """Saves photos as a Hugging Face data set and loads it memory-mapped.

    `datasets.load_from_disk(filepath)` reads it too. An older set stays as it is until the new
    one is complete.

    Args:
        filepath: Local folder.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self._filepath = Path(filepath)

    def load(self) -> datasets.Dataset:
        from datasets import Dataset

        if not self._exists():
            raise DatasetError(f"{self._filepath} holds no photo set: run the ingestion pipeline.")
        return Dataset.load_from_disk(str(self._filepath))

    def save(self, data: PhotoStream | datasets.Dataset) -> None:
        with written_aside(self._filepath) as aside:
            if isinstance(data, PhotoStream):
                aside.mkdir()
                write_stream(data, aside)
            else:
                data.save_to_disk(str(aside))

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows without their pixels, for kedro-viz."""
        return first_rows(self.load(), nrows)

    def _exists(self) -> bool:
        return (self._filepath / "state.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def first_rows(photo_set: datasets.Dataset, count: int) -> TablePreview:
    """What kedro-viz shows of a photo set: its first rows, without their pixels."""
    rows = photo_set.select(range(min(count, len(photo_set))))
    return table_preview(labels_of(rows))
