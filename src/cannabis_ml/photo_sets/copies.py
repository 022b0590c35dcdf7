"""Augmented copies on disk: a run makes those that are missing and keeps the rest.

Every shard is named by the hash of what belongs in it, known before a copy is made: a shard that is
there is right, and what a version holds depends on the copies wanted alone, not on earlier ones,
on interruptions, or on the number of workers.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.processes import Helpers
from cannabis_ml.photo_sets.photo_set import IMAGE
from cannabis_ml.photo_sets.shards import ShardStore, divide, read_shard, shard_name, write_index
from cannabis_ml.photos.augment import one_thread_per_call

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

COPY = "copy"
"""The column that counts the copies of a photo from 1."""

KEY = "key"
"""The column, on disk only, with how a copy was made."""

TASK_PHOTOS = 8
"""Photos that a worker is handed at once: handing over costs as much as half a copy."""


@dataclass(frozen=True)
class Copies:
    """The wanted copies of one photo.

    Attributes:
        row: The photo's columns but its image.
        keys: Per copy the hash, in hex digits, of all that its bytes depend on.
        make: Gives the JPEG files of the copies asked for, by position in `keys`. Called from
            several threads, or picklable and called in other processes where there is much to do.
    """

    row: dict[str, Any]
    keys: list[str]
    make: Callable[[Sequence[int]], list[bytes]]


@dataclass(frozen=True)
class CopyStream:
    """Copies that are made one by one while they are written.

    Attributes:
        features: Columns of the photo set, its image included.
        photos: Goes through the photos in order; may be longer than memory.
        total: How many copies they are together, for the progress bar.
        workers: None takes one per available core. Does not change the result.
        engine: Where copies are made. Does not change the result.
    """

    features: datasets.Features
    photos: Iterable[Copies]
    total: int
    workers: int | None = None
    engine: Engine = THREADS


def write_copies(data: CopyStream, store: ShardStore, index: Path) -> None:
    """Make the copies that no earlier version has, and a version of all that are wanted.

    Interrupted at any moment, the next call keeps every shard that was finished.

    Args:
        data: The copies wanted.
        store: Shards of earlier versions.
        index: Folder of the version.
    """
    features = _features(data.features)
    with store.locked():
        names = _write_shards(data, store, features.arrow_schema)
        write_index(index, store, names, features)


@dataclass(frozen=True)
class _Shard:
    """What one file holds."""

    name: str
    photos: list[Copies]

    @property
    def rows(self) -> int:
        return sum(len(photo.keys) for photo in self.photos)


@dataclass(frozen=True)
class _Task:
    """Some photos of one file: of each the copies that were found, the others to be made.

    Attributes:
        shard: Name of the file.
    """

    shard: str
    photos: list[Copies]
    found: list[dict[int, bytes]]

    @property
    def missing(self) -> list[list[int]]:
        """Per photo the copies to be made."""
        return [
            [i for i in range(len(photo.keys)) if i not in found]
            for photo, found in zip(self.photos, self.found, strict=True)
        ]

    @property
    def calls(self) -> list[_Call]:
        """What makes them, for the photos that lack any."""
        photos = zip(self.photos, self.missing, strict=True)
        return [(photo.make, missing) for photo, missing in photos if missing]

    def rows(self, made: list[list[bytes]]) -> tuple[str, list[dict[str, Any]]]:
        """The file and the rows of it, from what `calls` gave."""
        answers = iter(made)
        rows = []
        for photo, found, missing in zip(self.photos, self.found, self.missing, strict=True):
            images = found | dict(zip(missing, next(answers) if missing else [], strict=True))
            rows += [
                {**photo.row, IMAGE: {"bytes": images[i], "path": None}, COPY: i + 1, KEY: key}
                for i, key in enumerate(photo.keys)
            ]
        return self.shard, rows


_Call = tuple[Callable[[Sequence[int]], list[bytes]], list[int]]


def _run_by(helpers: Helpers, task: _Task) -> tuple[str, list[dict[str, Any]]]:
    calls = task.calls
    return task.rows(helpers.run(_make_all, calls) if calls else [])


def _run_here(task: _Task) -> tuple[str, list[dict[str, Any]]]:
    return task.rows(_make_all(task.calls))


def _make_all(calls: list[_Call]) -> list[list[bytes]]:
    return [make(missing) for make, missing in calls]


def _write_shards(data: CopyStream, store: ShardStore, schema: pa.Schema) -> list[str]:
    """Bring the shards that are missing into the store; returns the names of all, in order."""
    from tqdm import tqdm

    names: list[str] = []
    with (
        Helpers(data.workers) as helpers,
        one_thread_per_call(),
        tqdm(total=data.total, desc="Augmenting photos", unit=" copies") as bar,
    ):
        tasks = _tasks(data.photos, store, schema, names, bar.update)
        run = _run_here if data.engine.is_cluster else partial(_run_by, helpers)
        made = map_in_order(run, tasks, data.workers, data.engine.for_items_of(TASK_PHOTOS))
        for name, photos in groupby(made, key=itemgetter(0)):
            rows = (row for _, rows_of_photo in photos for row in rows_of_photo)
            store.write(name, rows, schema, bar.update)
        if not names:
            names.append(_name(schema, []))
            store.write(names[0], iter(()), schema, bar.update)
    return names


def _tasks(
    photos: Iterable[Copies],
    store: ShardStore,
    schema: pa.Schema,
    names: list[str],
    kept: Callable[[int], Any],
) -> Iterator[_Task]:
    """What is to be done for the shards that are missing; adds the name of each to `names`."""
    earlier = None
    wanted = (photo for photo in photos if photo.keys)
    for part in divide(wanted, lambda photo: str(photo.row["photo_id"])):
        shard = _Shard(_name(schema, part), part)
        names.append(shard.name)
        if store.holds(shard.name, shard.rows):
            kept(shard.rows)
            continue
        earlier = earlier or _EarlierCopies(store.folder)
        for start in range(0, len(shard.photos), TASK_PHOTOS):
            of_task = shard.photos[start : start + TASK_PHOTOS]
            earlier_copies = [
                {i: image for i, key in enumerate(photo.keys) if (image := earlier.get(key))}
                for photo in of_task
            ]
            yield _Task(shard.name, of_task, earlier_copies)


def _name(schema: pa.Schema, photos: list[Copies]) -> str:
    content = (json.dumps([photo.row, photo.keys], sort_keys=True).encode() for photo in photos)
    return shard_name("copies", schema, content)


class _EarlierCopies:
    """Every copy that the files of a folder hold, found by its key."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.arrow"))
        self._open: deque[tuple[int, pa.Table]] = deque(maxlen=2)
        # 24 bytes per copy, so that millions fit; the full key is compared when one is fetched.
        parts = [np.empty((0, 3), dtype=np.uint64)]
        for at, path in enumerate(self._paths):
            table = read_shard(path, [KEY])
            if table is not None and len(table):
                part = np.empty((len(table), 3), dtype=np.uint64)
                part[:, 0] = [_short(key) for key in table[KEY].to_pylist()]
                part[:, 1], part[:, 2] = at, np.arange(len(table))
                parts.append(part)
        entries = np.concatenate(parts)
        self._index = entries[np.argsort(entries[:, 0], kind="stable")]

    def get(self, key: str) -> bytes | None:
        """The JPEG file made under `key`, or None."""
        at = int(np.searchsorted(self._index[:, 0], np.uint64(_short(key))))
        if at == len(self._index) or int(self._index[at, 0]) != _short(key):
            return None
        table, row = self._table(int(self._index[at, 1])), int(self._index[at, 2])
        if table is None or table[KEY][row].as_py() != key:
            return None
        return table[IMAGE][row].as_py()["bytes"]

    def _table(self, at: int) -> pa.Table | None:
        for number, table in self._open:
            if number == at:
                return table
        table = read_shard(self._paths[at], [KEY, IMAGE])
        if table is not None:
            self._open.append((at, table))
        return table


def _short(key: str) -> int:
    return int(key[:16], 16)


def _features(photo_set: datasets.Features) -> datasets.Features:
    from datasets import Features, Value

    return Features({**photo_set, COPY: Value("int32"), KEY: Value("string")})
