"""A photo set as Parquet files, a shard at a time, in the form of the hub's data sets."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cannabis_ml.photo_sets.photo_set import IMAGE, PhotoSet
from cannabis_ml.photo_sets.published import CREDIT, GROUP, LICENCE, RowDigest
from cannabis_ml.publishing.rights import Rights
from cannabis_ml.splits import SPLITS, Split
from cannabis_ml.taxonomy import Taxonomy

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

SHARD_PHOTOS = 4096
"""Photos per shard on average: a photo more or less changes one shard of a split."""

MAX_SHARD_BYTES = 256 << 20
"""All photos of a shard together; a shard is in memory while it is uploaded."""

PIECE = 100
"""Rows that are read at once, and rows per row group: what a viewer loads to show a page."""


@dataclass(frozen=True)
class Shard:
    """One Parquet file.

    Attributes:
        name: Path in the repository.
        data: The file.
        rows: Photos in it.
    """

    name: str
    data: bytes
    rows: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class PublishedPhotos:
    """The photos of a set as they are published.

    The columns are `photo_id`, `image` (the stored JPEG or PNG), `group`, `source`, `licence`,
    `credit` where anybody is to be named, and one per head, or per class of a multilabel head.
    Local paths are left out, and groups are named by a hash: names of folders, people and places
    stay here.

    Args:
        photo_set: The photos.
        taxonomy: The heads.
        rights: Of every photo, in the order of the rows.
    """

    def __init__(self, photo_set: PhotoSet, taxonomy: Taxonomy, rights: Rights) -> None:
        self.photo_set = photo_set
        self.taxonomy = taxonomy
        self._labels = photo_set.labels()
        self._rights = rights
        self.digests = {split: RowDigest() for split in SPLITS}
        """By split, of the rows that the last call of `shards` has given so far."""

    @property
    def label_columns(self) -> list[str]:
        return [name for name in self.taxonomy.columns if name in self._labels]

    @property
    def features(self) -> datasets.Features:
        """The type of every column."""
        from datasets import ClassLabel, Features, Image, Value

        fields: dict[str, Any] = {"photo_id": Value("string"), IMAGE: Image()}
        fields |= {name: Value("string") for name in (GROUP, "source", LICENCE)}
        if self._rights.table[CREDIT].notna().any():
            fields[CREDIT] = Value("string")
        for head in self.taxonomy.heads:
            for column in head.columns:
                is_mark = head.kind == "multilabel"
                if column in self._labels:
                    fields[column] = (
                        Value("bool") if is_mark else ClassLabel(names=head.class_names)
                    )
        return Features(fields)

    def rows_of(self, split: Split) -> np.ndarray:
        """Rows of the photo set in a split, in the order in which they are published."""
        return self.photo_set.rows_of(split)

    def stored_bytes(self) -> np.ndarray:
        """Size of every photo as stored, int64 (N,)."""
        import pyarrow.compute as pc

        table = self.photo_set.arrow.select_columns(IMAGE).with_format("arrow")
        sizes = [
            pc.binary_length(pc.struct_field(batch[IMAGE], "bytes")).to_numpy(zero_copy_only=False)
            for batch in table.iter(batch_size=1000)
        ]
        return np.concatenate(sizes or [np.zeros(0)]).astype(np.int64)

    def shards(self) -> Iterator[Shard]:
        """Every shard of every split, each made when it is asked for; anew at every call."""
        self.digests = {split: RowDigest() for split in SPLITS}
        sizes, ids = self.stored_bytes(), self._labels["photo_id"].astype(str).to_numpy()
        for split in SPLITS:
            rows = self.rows_of(split)
            for number, part in enumerate(divided(list(ids[rows]), sizes[rows])):
                data = self._parquet(rows[part], self.digests[split])
                digest = hashlib.sha256(data).hexdigest()[:16]
                yield Shard(f"data/{split}-{number:05}-{digest}.parquet", data, len(rows[part]))

    def _parquet(self, rows: np.ndarray, digest: RowDigest) -> bytes:
        import pyarrow.parquet as pq

        schema = self.features.arrow_schema
        file = io.BytesIO()
        # The same photos give the same pages, so that the hub stores them once.
        with pq.ParquetWriter(
            file, schema, use_content_defined_chunking=True, write_page_index=True
        ) as writer:
            for start in range(0, len(rows), PIECE):
                writer.write_table(self._table(rows[start : start + PIECE], schema, digest))
        return file.getvalue()

    def _table(self, rows: np.ndarray, schema: pa.Schema, digest: RowDigest) -> pa.Table:
        import pyarrow as pa

        photos = [self.photo_set.stored(row) for row in rows]
        columns = self._columns(rows)
        columns[IMAGE] = [{"bytes": photo, "path": None} for photo in photos]
        table = pa.Table.from_pydict({name: columns[name] for name in schema.names}, schema=schema)
        for row, photo in zip(table.drop_columns(IMAGE).to_pylist(), photos, strict=True):
            digest.add(row, photo)
        return table

    def _columns(self, rows: np.ndarray) -> dict[str, list[Any]]:
        labels, rights = self._labels.iloc[rows], self._rights.table.iloc[rows]
        columns: dict[str, list[Any]] = {
            "photo_id": _plain(labels["photo_id"]),
            GROUP: [name and group_id(name) for name in _plain(labels[GROUP])]
            if GROUP in labels
            else [None] * len(rows),
            **{name: _plain(rights[name]) for name in ("source", LICENCE, CREDIT)},
        }
        for head in self.taxonomy.heads:
            for column in (name for name in head.columns if name in labels):
                cells = _plain(labels[column])
                if head.kind == "multilabel":
                    columns[column] = [None if cell is None else bool(cell) for cell in cells]
                else:
                    index = {name: number for number, name in enumerate(head.class_names)}
                    columns[column] = [None if cell is None else index[cell] for cell in cells]
        return columns


def group_id(name: str) -> str:
    """What a group is called in public: 16 hex digits, the same for the same name."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def divided(photo_ids: Sequence[str], sizes: np.ndarray) -> Iterator[slice]:
    """Content-defined sharding: the hash of a photo's id decides where a shard ends.

    Args:
        photo_ids: In their order.
        sizes: Bytes of each, int64 (N,).

    Yields:
        The photos of each shard: at most `MAX_SHARD_BYTES`, unless a single one is larger.
    """
    start, held = 0, 0
    for at, name in enumerate(photo_ids):
        if at > start and held + int(sizes[at]) > MAX_SHARD_BYTES:
            yield slice(start, at)
            start, held = at, 0
        held += int(sizes[at])
        if zlib.crc32(name.encode()) % SHARD_PHOTOS == 0:
            yield slice(start, at + 1)
            start, held = at + 1, 0
    if start < len(photo_ids):
        yield slice(start, len(photo_ids))


def _plain(column: pd.Series) -> list[Any]:
    """The cells, None where unknown."""
    cells = column.astype(object)
    return list(cells.where(cells.notna(), None))
