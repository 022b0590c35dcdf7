"""Augmented copies of photos in the catalog."""

from __future__ import annotations

from cannabis_ml.datasets.photo_set import ShardedDataset
from cannabis_ml.photo_sets.copies import KEY, CopyStream, write_copies
from cannabis_ml.photo_sets.photo_set import PhotoSet


class AugmentedPhotosDataset(ShardedDataset[CopyStream]):
    """Saves the copies that are missing and loads all as a `PhotoSet`; see `ShardedDataset`.

    Rows stand in the order of the photos, then of the copies. Their columns are those of the
    photo set and `copy`, 1 for the first. Interrupted at any moment, the next run keeps every file
    that was finished.
    """

    CONTENT = "augmented photos"
    STAGE = "augmentation"

    def load(self) -> PhotoSet:
        return PhotoSet(super().load().arrow.remove_columns(KEY))

    def save(self, data: CopyStream) -> None:
        with self.saving() as index:
            write_copies(data, self.store, index)
