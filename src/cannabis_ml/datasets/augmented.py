"""Augmented copies of photos in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from cannabis_ml.datasets.photo_set import first_rows
from cannabis_ml.photo_sets.copies import KEY, STATE, CopyStream, write_copies

if TYPE_CHECKING:
    import datasets


class AugmentedPhotosDataset(AbstractDataset["CopyStream", "datasets.Dataset"]):
    """Saves the copies that are missing and loads all as a memory-mapped Hugging Face data set.

    Rows stand in the order of the photos, then of the copies. Their columns are those of the
    photo set and `copy`, 1 for the first. The last complete state stays readable until the new
    one is; interrupted at any moment, the next run keeps every file that was finished.

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
            raise DatasetError(
                f"{self._filepath} holds no augmented photos: run the augmentation pipeline."
            )
        return Dataset.load_from_disk(str(self._filepath)).remove_columns(KEY)

    def save(self, data: CopyStream) -> None:
        write_copies(data, self._filepath)

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows without their pixels, for kedro-viz."""
        return first_rows(self.load(), nrows)

    def _exists(self) -> bool:
        return (self._filepath / STATE).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
