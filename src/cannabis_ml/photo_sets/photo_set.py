"""Photo sets: photos and labels side by side in Arrow files, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.photo_sets.stream import stream_batches
from cannabis_ml.photos.stored import decode_stored

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from cannabis_ml.splits import Split
    from cannabis_ml.taxonomy import Taxonomy

IMAGE = "image"
"""The column that holds the encoded photo."""


@dataclass(frozen=True)
class PhotoStream:
    """Photos that are encoded one by one while they are written.

    Attributes:
        rows: A row per photo, with `photo_id`, `path`, `group`, `split` (text) and label columns
            (text, or Int8 for attributes).
        encode: Makes the stored JPEG or PNG of one row; safe to call from several threads, and
            picklable.
        workers: Threads; None takes one per available core. Does not change the result.
        engine: Where photos are encoded. Does not change the result.
    """

    rows: pd.DataFrame
    encode: Callable[[dict[str, Any]], bytes]
    workers: int | None = None
    engine: Engine = THREADS

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos with their labels and splits, a row each, memory-mapped.

    Augmented copies are a photo set too, with a column `copy` that counts the copies of a photo
    from 1. Worker processes get the paths of the files, no pixels.

    Attributes:
        arrow: The Hugging Face data set, with columns `photo_id`, `image`, `split` and a label
            column per class of a multilabel head, and per other head.
    """

    arrow: datasets.Dataset

    def __len__(self) -> int:
        return len(self.arrow)

    def __reduce__(self) -> tuple[Any, ...]:
        return PhotoSet, (self.arrow,)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the set holds, without decoding a photo; 64 hex digits.

        Covers, in row order, photo ids, splits, groups and labels, and the size in bytes of every
        stored photo, which changes with the settings it was stored by. Paths are left out: the
        same photos elsewhere are the same set. Computed once per set and process: the library's
        own fingerprint is the key.
        """
        arrow = self.arrow
        key = (arrow._fingerprint, len(arrow), tuple(arrow.column_names))
        if key not in _FINGERPRINTS:
            _FINGERPRINTS[key] = _fingerprint(arrow)
        return _FINGERPRINTS[key]

    def rows_of(self, *splits: Split) -> np.ndarray:
        """Rows of the photos in any of these splits, ascending, int64 (N,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.table("split")["split"]
        wanted = pa.array([str(split) for split in splits], column.type)
        return np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy(zero_copy_only=False))

    def rows_by_id(self) -> dict[str, np.ndarray]:
        """Per `photo_id` its rows, ascending, int64: several where the set holds copies."""
        ids = self.labels("photo_id")["photo_id"].astype(object)
        return {str(name): np.asarray(rows) for name, rows in ids.groupby(ids).indices.items()}

    def stored(self, row: int) -> bytes:
        """The JPEG or PNG file of one photo, upright RGB."""
        return self._undecoded[int(row)][IMAGE]["bytes"]

    def pixels(self, row: int) -> np.ndarray:
        """One photo, uint8 RGB (H, W, 3).

        Raises:
            ValueError: If the stored bytes are not an image.
        """
        return decode_stored(self.stored(row))

    def labels(self, *names: str) -> pd.DataFrame:
        """The columns of these names, or every column but the pixels: one row per photo."""
        arrow = self.arrow.select_columns(list(names)) if names else self._bare
        return arrow.to_pandas()

    def labels_at(self, row: int) -> dict[str, Any]:
        """Every column but the pixels of one photo; None where unknown."""
        return self._bare[int(row)]

    def encode(self, taxonomy: Taxonomy, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Labels of these rows, or of all, as from `Taxonomy.encode`; unknown without a column."""
        names = [name for name in taxonomy.columns if name in self.arrow.column_names]
        chosen = self.arrow.select_columns(names or self._bare.column_names[:1])
        table = (chosen if rows is None else chosen.select(rows)).to_pandas()
        return taxonomy.encode(table.reindex(columns=taxonomy.columns))

    def table(self, *names: str) -> pa.Table:
        """The columns of these names as an Arrow table; nothing else is read."""
        return self.arrow.select_columns(list(names)).with_format("arrow")[:]

    def batches(self) -> Iterator[pa.Table]:
        """Every row in order, some hundred at a time, pixels as stored: for sets beyond memory."""
        return stream_batches(self.arrow)

    @cached_property
    def _undecoded(self) -> datasets.Dataset:
        from datasets import Image

        return self.arrow.select_columns(IMAGE).cast_column(IMAGE, Image(decode=False))

    @cached_property
    def _bare(self) -> datasets.Dataset:
        return self.arrow.remove_columns(IMAGE)


_FINGERPRINTS: dict[tuple[str, int, tuple[str, ...]], str] = {}


def _fingerprint(dataset: datasets.Dataset) -> str:
    import pyarrow.compute as pc

    digest = hashlib.sha256()
    names = sorted(set(dataset.column_names) - {"path"})
    digest.update(json.dumps(names).encode())
    table = dataset.with_format("arrow")
    for batch in table.iter(batch_size=10_000):
        columns = {
            name: pc.binary_length(pc.struct_field(batch[name], "bytes"))
            if name == IMAGE
            else batch[name]
            for name in names
        }
        for name in names:
            digest.update(json.dumps(columns[name].to_pylist()).encode())
    return digest.hexdigest()
