"""Photo sets: one Arrow file, memory-mapped, photos and labels side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.errors import PhotoSetError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

IMAGE = "image"
"""The column that holds the encoded photo."""

BATCH_ROWS = 100
"""Rows per Arrow record batch: what is read at once to get at one photo."""

_ARROW_FILE = "data-00000-of-00001.arrow"


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


def write_stream(stream: PhotoStream, folder: Path) -> None:
    """Encode photos into a folder that `datasets.load_from_disk` reads.

    Raises:
        PhotoSetError: If not every photo was written.
    """
    from datasets import DatasetInfo
    from datasets.arrow_writer import ArrowWriter

    features = _features(stream.rows)
    content = hashlib.sha256(repr(features).encode())
    with ArrowWriter(features=features, path=str(folder / _ARROW_FILE)) as writer:
        for batch in _batches(stream, features.arrow_schema, content):
            writer.write_table(batch)
        rows, size = writer.finalize()
    # What load_from_disk wants; the names are those that save_to_disk gives.
    state: dict[str, Any] = {
        "_data_files": [{"filename": _ARROW_FILE}],
        "_fingerprint": content.hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    info = DatasetInfo(features=features, dataset_size=size)
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    info.write_to_directory(str(folder), pretty_print=True)
    if rows != len(stream):
        raise PhotoSetError(f"{rows:,} of {len(stream):,} photos were written.")


def _features(rows: pd.DataFrame) -> datasets.Features:
    from datasets import Features, Image, Value

    def of(name: str) -> Any:
        is_number = pd.api.types.is_numeric_dtype(rows[name].dtype)
        return Value("int8") if is_number else Value("string")

    first = {"photo_id": of("photo_id"), IMAGE: Image()}
    return Features(first | {name: of(name) for name in rows.columns if name != "photo_id"})


def _batches(stream: PhotoStream, schema: pa.Schema, content: Any) -> Iterator[pa.Table]:
    """Encode in threads and gather record batches in row order; adds each photo to `content`."""
    import pyarrow as pa
    from tqdm import tqdm

    rows: list[dict[str, Any]] = []
    encoded = map_in_order(_encoded(stream), _records(stream.rows), stream.workers)
    for row in tqdm(encoded, total=len(stream), desc="Storing photos", unit=" photos"):
        content.update(hashlib.sha256(row[IMAGE]["bytes"]).digest())
        content.update(repr([v for k, v in row.items() if k != IMAGE]).encode())
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            yield pa.Table.from_pylist(rows, schema=schema)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, schema=schema)


def _encoded(stream: PhotoStream) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def encode(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, IMAGE: {"bytes": stream.encode(row), "path": None}}

    return encode


def _records(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as dicts with None for unknown, a thousand at a time."""
    for start in range(0, len(rows), 1000):
        part = rows.iloc[start : start + 1000].astype(object)
        for record in part.where(part.notna(), None).to_dict("records"):
            yield {str(name): value for name, value in record.items()}
