"""Photos written as shards: encoded one by one, hashed, and stored where they are new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.errors import PhotoSetError
from cannabis_ml.photo_sets.photo_set import IMAGE, PhotoStream
from cannabis_ml.photo_sets.shards import ShardStore, divide, shard_name, write_index

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


def write_stream(stream: PhotoStream, store: ShardStore, index: Path) -> None:
    """Encode photos and make a version of them.

    Args:
        stream: The photos; at most a shard of them is in memory at once.
        store: Shards of earlier versions, which are used again where they hold the same.
        index: Folder of the version.

    Raises:
        PhotoSetError: If not every photo was written.
    """
    from tqdm import tqdm

    encode = partial(_encoded, encode=stream.encode)
    encoded = map_in_order(encode, _records(stream.rows), stream.workers, stream.engine)
    rows = tqdm(encoded, total=len(stream), desc="Storing photos", unit=" photos")
    written = _write(iter(rows), _features(stream.rows), store, index)
    if written != len(stream):
        raise PhotoSetError(f"{written:,} of {len(stream):,} photos were written.")


def write_dataset(dataset: datasets.Dataset, store: ShardStore, index: Path) -> None:
    """Make a version of a Hugging Face data set with the columns `photo_id` and `image`."""
    from datasets import Image

    undecoded = dataset.cast_column(IMAGE, Image(decode=False))
    _write((_with_bytes(row) for row in undecoded), dataset.features, store, index)


def _write(
    rows: Iterator[dict[str, Any]], features: datasets.Features, store: ShardStore, index: Path
) -> int:
    """Returns the number of rows written."""
    schema = features.arrow_schema
    names: list[str] = []
    written = 0
    with store.locked():
        parts = divide(rows, lambda row: str(row["photo_id"]))
        # By way of `map`, no variable keeps a shard's photos while those of the next are gathered.
        for name, size in map(partial(_store, schema=schema, store=store), parts):
            names.append(name)
            written += size
        if not names:
            names.append(_store([], schema, store)[0])
        write_index(index, store, names, features)
    return written


def _store(rows: list[dict[str, Any]], schema: pa.Schema, store: ShardStore) -> tuple[str, int]:
    """Returns the shard's name and how many rows it has."""
    name = shard_name("photos", schema, map(_content, rows))
    if not store.holds(name, len(rows)):
        store.write(name, iter(rows), schema)
    return name, len(rows)


def _content(row: dict[str, Any]) -> bytes:
    labels = repr([value for name, value in row.items() if name != IMAGE])
    return hashlib.sha256(row[IMAGE]["bytes"]).digest() + labels.encode()


def _features(rows: pd.DataFrame) -> datasets.Features:
    from datasets import Features, Image, Value

    def of(name: str) -> Any:
        is_number = pd.api.types.is_numeric_dtype(rows[name].dtype)
        return Value("int8") if is_number else Value("string")

    first = {"photo_id": of("photo_id"), IMAGE: Image()}
    return Features(first | {name: of(name) for name in rows.columns if name != "photo_id"})


def _encoded(row: dict[str, Any], encode: Callable[[dict[str, Any]], bytes]) -> dict[str, Any]:
    return {**row, IMAGE: {"bytes": encode(row), "path": None}}


def _records(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as dicts with None for unknown, a thousand at a time."""
    for start in range(0, len(rows), 1000):
        part = rows.iloc[start : start + 1000].astype(object)
        for record in part.where(part.notna(), None).to_dict("records"):
            yield {str(name): value for name, value in record.items()}


def _with_bytes(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose photo may lie in a file of its own, with that file's bytes."""
    image = row[IMAGE]
    held = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    return {**row, IMAGE: {"bytes": held, "path": None}}
