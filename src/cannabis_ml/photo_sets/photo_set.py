"""Photo sets: photos and labels side by side in Arrow files, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import datasets

IMAGE = "image"
"""The column that holds the encoded photo."""


@dataclass(frozen=True)
class PhotoStream:
    """Photos that are encoded one by one while they are written.

    Attributes:
        rows: A row per photo, with `photo_id`, `path`, `group`, `split` (text) and label columns
            (text, or Int8 for attributes).
        encode: Makes the stored JPEG or PNG of one row; safe to call from several threads.
        workers: Threads; None takes one per available core. Does not change the result.
    """

    rows: pd.DataFrame
    encode: Callable[[dict[str, Any]], bytes]
    workers: int | None = None

    def __len__(self) -> int:
        return len(self.rows)


def labels_of(photo_set: datasets.Dataset) -> pd.DataFrame:
    """Every column of a photo set but the pixels, one row per photo."""
    return photo_set.remove_columns(IMAGE).to_pandas()


def photo_set_fingerprint(dataset: datasets.Dataset) -> str:
    """SHA-256 of what a photo set holds, without decoding a photo.

    Covers, in row order, photo ids, splits, groups and labels, and the size in bytes of every
    stored photo, which changes with the settings it was stored by. Paths are left out: the same
    photos elsewhere are the same set. Computed once per set and process: the library's own
    fingerprint tells one set from another.

    Returns:
        64 hex digits.
    """
    key = (dataset._fingerprint, len(dataset), tuple(dataset.column_names))
    if key not in _FINGERPRINTS:
        _FINGERPRINTS[key] = _fingerprint(dataset)
    return _FINGERPRINTS[key]


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
