"""Photo sets in the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import DatasetError
from kedro_datasets._typing import TablePreview

from cannabis_ml._io.remote import copy_of
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.photo_sets.mirror import fetch, push
from cannabis_ml.photo_sets.photo_set import PhotoSet, PhotoStream
from cannabis_ml.photo_sets.photo_writer import write_dataset, write_stream
from cannabis_ml.photo_sets.shards import STATE, ShardStore, read_index

Written = TypeVar("Written")


class ShardedDataset(PathDataset[Written, PhotoSet], Generic[Written]):
    """A photo set in shards that its versions share; loads memory-mapped.

    `datasets.load_from_disk` reads a version too. An older one stays as it is until the new one is
    complete, also where the entry is not versioned.

    Args:
        filepath: Folder of all versions; the other arguments are those of `PathDataset`.
        cache: Local folder for a copy of what lies on another file system; None keeps one until the
            process ends. Shards that are in it are not brought again.
    """

    CONTENT = "photo set"
    STAGE = "ingestion"
    MARKER = STATE

    def __init__(self, *, filepath: str, cache: str | None = None, **options: Any) -> None:
        super().__init__(filepath=filepath, **options)
        self._cache = cache

    def load(self) -> PhotoSet:
        if not self._exists():
            raise DatasetError(
                f"{self._filepath} holds no {self.CONTENT}: run the {self.STAGE} pipeline."
            )
        return PhotoSet(read_index(self.local_path(), self.store))

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows without their pixels, for kedro-viz."""
        return first_rows(self.load(), nrows)

    @property
    def store(self) -> ShardStore:
        """The shards of all versions; of another file system, those that are here."""
        if self.remote is None:
            return ShardStore(Path(self._filepath))
        return ShardStore(copy_of(self.remote, self._cache))

    def local_path(self) -> Path:
        path = self._get_load_path()
        if self.remote is None:
            return Path(path)
        return fetch(self.remote, self.store, self._below(path))

    @contextmanager
    def saving(self) -> Iterator[Path]:
        path = self._get_save_path()
        if self.remote is None:
            yield Path(path)
            return
        earlier = self._get_versions() if self._version else [str(path)] * self._exists()
        if earlier:  # its shards are used again
            fetch(self.remote, self.store, self._below(PurePosixPath(earlier[0])))
        version = self._below(path)
        yield self.store.root / version
        push(self.remote, self.store, version)

    def _below(self, path: PurePosixPath) -> str:
        """The folder of a version, below that of the set."""
        return path.relative_to(self._filepath).as_posix()


class PhotoSetDataset(ShardedDataset[PhotoStream | PhotoSet]):
    """Saves photos in shards and loads them as a `PhotoSet`; see `ShardedDataset`."""

    def save(self, data: PhotoStream | PhotoSet) -> None:
        with self.saving() as index:
            if isinstance(data, PhotoStream):
                write_stream(data, self.store, index)
            else:
                write_dataset(data.arrow, self.store, index)


def first_rows(photo_set: PhotoSet, count: int) -> TablePreview:
    """What kedro-viz shows of a photo set: its first rows, without their pixels."""
    rows = photo_set.arrow.select(range(min(count, len(photo_set))))
    return table_preview(PhotoSet(rows).labels())
