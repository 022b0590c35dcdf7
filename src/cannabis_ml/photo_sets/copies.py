"""Copies of photos on disk: a run makes those that are missing and keeps the rest.

The folder is a Hugging Face data set in many small Arrow files, `datasets.load_from_disk` reads
it. Every file is named by the hash of what belongs in it, so a file that is there is right, and
what the folder holds in the end depends on the copies wanted alone: not on what it held before,
on interruptions, or on the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from cannabis_ml._io.files import written_aside
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.processes import Helpers
from cannabis_ml.photo_sets.photo_set import BATCH_ROWS, IMAGE
from cannabis_ml.photos.augment import one_thread_per_call

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

COPY = "copy"
"""The column that counts the copies of a photo from 1."""

KEY = "key"
"""The column, on disk only, that says how a copy was made."""

SHARD_PHOTOS = 64
"""Photos per file on average. A new photo rewrites one file; a kill costs the making of one."""

MAX_SHARD_PHOTOS = 256

TASK_PHOTOS = 8
"""Photos that a worker is handed at once: handing over costs as much as half a copy."""

# The names that datasets.load_from_disk looks for.
STATE, _INFO = "state.json", "dataset_info.json"


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
    """

    features: datasets.Features
    photos: Iterable[Copies]
    total: int
    workers: int | None = None


def write_copies(data: CopyStream, folder: Path) -> None:
    """Make `folder` hold the copies wanted: keep those that are there, make those that are missing.

    The last complete state stays readable until the new one is; interrupted at any moment, the
    next call keeps every file that was finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schema = _features(data.features).arrow_schema
    names = _write_shards(data, folder, schema)
    _point_at(folder, names, _features(data.features))
    for path in folder.iterdir():
        if path.name.endswith((".arrow", ".part")) and path.name not in names:
            path.unlink()


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
    """Some photos of one file: of each the copies that were found, the others to be made."""

    shard: _Shard
    photos: list[Copies]
    found: list[dict[int, bytes]]

    def run(self, helpers: Helpers) -> tuple[str, list[dict[str, Any]]]:
        calls = [
            (photo.make, [i for i in range(len(photo.keys)) if i not in found])
            for photo, found in zip(self.photos, self.found, strict=True)
        ]
        wanted = [(make, missing) for make, missing in calls if missing]
        answers = iter(helpers.run(_make_all, wanted) if wanted else [])
        rows = []
        for photo, found, (_, missing) in zip(self.photos, self.found, calls, strict=True):
            images = found | dict(zip(missing, next(answers) if missing else [], strict=True))
            rows += [
                {**photo.row, IMAGE: {"bytes": images[i], "path": None}, COPY: i + 1, KEY: key}
                for i, key in enumerate(photo.keys)
            ]
        return self.shard.name, rows


def _make_all(calls: list[tuple[Callable[[list[int]], list[bytes]], list[int]]]) -> list[Any]:
    return [make(missing) for make, missing in calls]


def _write_shards(data: CopyStream, folder: Path, schema: pa.Schema) -> list[str]:
    """Bring the files that are missing into `folder`; returns the names of all, in order."""
    from tqdm import tqdm

    names: list[str] = []
    with (
        Helpers(data.workers) as helpers,
        one_thread_per_call(),
        tqdm(total=data.total, desc="Augmenting photos", unit=" copies") as bar,
    ):
        tasks = _tasks(data.photos, folder, schema, names, bar.update)
        made = map_in_order(lambda task: task.run(helpers), tasks, data.workers)
        for name, photos in groupby(made, key=itemgetter(0)):
            rows = (row for _, rows_of_photo in photos for row in rows_of_photo)
            _write_shard(folder / name, rows, schema, bar.update)
        if not names:
            names.append(_name(schema, []))
            _write_shard(folder / names[0], iter(()), schema, bar.update)
    return names


def _write_shard(
    path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema, written: Callable[[int], Any]
) -> None:
    import pyarrow as pa

    with written_aside(path) as aside, pa.ipc.new_stream(str(aside), schema) as writer:
        while batch := list(islice(rows, BATCH_ROWS)):
            writer.write(pa.RecordBatch.from_pylist(batch, schema))
            written(len(batch))


def _tasks(
    photos: Iterable[Copies],
    folder: Path,
    schema: pa.Schema,
    names: list[str],
    kept: Callable[[int], Any],
) -> Iterator[_Task]:
    """What is to be done for the files that are missing; adds the name of every file to `names`."""
    earlier = None
    for shard in _shards(photos, schema):
        names.append(shard.name)
        if _holds(folder / shard.name, shard.rows):
            kept(shard.rows)
            continue
        earlier = earlier or _EarlierCopies(folder)
        for start in range(0, len(shard.photos), TASK_PHOTOS):
            photos = shard.photos[start : start + TASK_PHOTOS]
            found = [
                {i: image for i, key in enumerate(photo.keys) if (image := earlier.get(key))}
                for photo in photos
            ]
            yield _Task(shard, photos, found)


def _shards(photos: Iterable[Copies], schema: pa.Schema) -> Iterator[_Shard]:
    """Divide photos where their ids say so: a new one changes the file that it falls into alone."""
    part: list[Copies] = []
    for photo in photos:
        if not photo.keys:
            continue
        is_cut = zlib.crc32(str(photo.row["photo_id"]).encode()) % SHARD_PHOTOS == 0
        if part and (is_cut or len(part) == MAX_SHARD_PHOTOS):
            yield _Shard(_name(schema, part), part)
            part = []
        part.append(photo)
    if part:
        yield _Shard(_name(schema, part), part)


def _name(schema: pa.Schema, photos: list[Copies]) -> str:
    digest = hashlib.sha256(repr([BATCH_ROWS, schema.names, schema.types]).encode())
    for photo in photos:
        digest.update(json.dumps([photo.row, photo.keys], sort_keys=True).encode())
    return f"copies-{digest.hexdigest()[:32]}.arrow"


def _holds(path: Path, rows: int) -> bool:
    """Whether a file is there and whole."""
    table = _read(path, [KEY]) if path.is_file() else None
    return table is not None and len(table) == rows


def _read(path: Path, columns: list[str]) -> pa.Table | None:
    """Map columns of one file into memory; None if it is no sound file of ours."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            return reader.read_all().select(columns)
    except (OSError, pa.ArrowInvalid, KeyError):
        return None


class _EarlierCopies:
    """Every copy that the files of a folder hold, found by its key."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.arrow"))
        self._open: deque[tuple[int, pa.Table]] = deque(maxlen=2)
        # 24 bytes per copy, so that millions fit; the full key is compared when one is fetched.
        parts = [np.empty((0, 3), dtype=np.uint64)]
        for at, path in enumerate(self._paths):
            table = _read(path, [KEY])
            if table is not None and len(table):
                part = np.empty((len(table), 3), dtype=np.uint64)
                part[:, 0] = [_short(key) for key in table[KEY].to_pylist()]
                part[:, 1], part[:, 2] = at, np.arange(len(table))
                parts.append(part)
        found = np.concatenate(parts)
        self._index = found[np.argsort(found[:, 0], kind="stable")]

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
        table = _read(self._paths[at], [KEY, IMAGE])
        if table is not None:
            self._open.append((at, table))
        return table


def _short(key: str) -> int:
    return int(key[:16], 16)


def _features(photo_set: datasets.Features) -> datasets.Features:
    from datasets import Features, Value

    return Features({**photo_set, COPY: Value("int32"), KEY: Value("string")})


def _point_at(folder: Path, names: list[str], features: datasets.Features) -> None:
    """Make the files `names` the contents of the data set, in the way load_from_disk wants."""
    from datasets import DatasetInfo

    fingerprint = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    with TemporaryDirectory() as scratch:
        DatasetInfo(features=features).write_to_directory(scratch, pretty_print=True)
        info = (Path(scratch) / _INFO).read_text()
    if _text(folder / _INFO) != info:
        # Other columns than before: the old files must never be read by the new description.
        (folder / STATE).unlink(missing_ok=True)
        with written_aside(folder / _INFO) as aside:
            aside.write_text(info)
    with written_aside(folder / STATE) as aside:
        aside.write_text(json.dumps(state, indent=2, sort_keys=True))


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
