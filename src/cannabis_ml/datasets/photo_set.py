"""Photo sets in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from kedro.io import DatasetError
from kedro_datasets._typing import TablePreview

from cannabis_ml.datasets.local import LocalDataset
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.photo_sets.photo_set import PhotoSet, PhotoStream
from cannabis_ml.photo_sets.photo_writer import write_dataset, write_stream
from cannabis_ml.photo_sets.shards import STATE, ShardStore, read_index

Written = TypeVar("Written")


class ShardedDataset(LocalDataset[Written, PhotoSet], Generic[Written]):
    """A photo set in shards that its versions share; loads memory-mapped.

    `datasets.load_from_disk` reads a version too. An older one stays as it is until the new one is
    complete, also where the entry is not versioned.

    Args:
        filepath: Local folder of all versions.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    CONTENT = "photo set"
    STAGE = "ingestion"

    def load(self) -> PhotoSet:
        if not self._exists():
            raise DatasetError(
                f"{self._filepath} holds no {self.CONTENT}: run the {self.STAGE} pipeline."
            )
        return PhotoSet(read_index(Path(self._get_load_path()), self.store))

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows without their pixels, for kedro-viz."""
        return first_rows(self.load(), nrows)

    @property
    def store(self) -> ShardStore:
        """The shards of all versions."""
        return ShardStore(Path(self._filepath))

    def _is_there(self, path: Path) -> bool:
        return (path / STATE).is_file()


class PhotoSetDataset(ShardedDataset[PhotoStream | PhotoSet]):
    """Saves photos in shards and loads them as a `PhotoSet`; see `ShardedDataset`."""

    def save(self, data: PhotoStream | PhotoSet) -> None:
        index = Path(self._get_save_path())
        if isinstance(data, PhotoStream):
            write_stream(data, self.store, index)
        else:
            write_dataset(data.arrow, self.store, index)


def first_rows(photo_set: PhotoSet, count: int) -> TablePreview:
    """What kedro-viz shows of a photo set: its first rows, without their pixels."""
    rows = photo_set.arrow.select(range(min(count, len(photo_set))))
    return table_preview(PhotoSet(rows).labels())
