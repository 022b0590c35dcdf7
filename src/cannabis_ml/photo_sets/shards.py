"""Versions of a set of photos on disk, which share what they have in common.

    SET/shards/photos-HASH.arrow     rows, named by the hash of what they are
    SET/VERSION/SET/state.json       which shards a version has, in order

`datasets.load_from_disk` reads a version, memory-mapped. Sharding is content-defined: a shard ends
where the hash of a photo's id is divisible by SHARD_PHOTOS, so that a photo more or less rewrites
one shard. A shard is never changed, so what a version holds does not depend on other versions.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import PhotoSetError, StorageError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

logger = logging.getLogger(__name__)

SHARD_PHOTOS = 64
"""Photos per shard on average. A new photo rewrites one; a kill costs the making of one."""

MAX_SHARD_PHOTOS = 256

BATCH_ROWS = 100
"""Rows per Arrow record batch: what is read at once to get at one photo."""

# The names that datasets.load_from_disk looks for.
STATE, INFO = "state.json", "dataset_info.json"

Item = TypeVar("Item")


def divide(photos: Iterable[Item], id_of: Callable[[Item], str]) -> Iterator[list[Item]]:
    """Content-defined sharding: the hash of a photo's id decides where a shard ends."""
    part: list[Item] = []
    for photo in photos:
        is_cut = zlib.crc32(id_of(photo).encode()) % SHARD_PHOTOS == 0
        if part and (is_cut or len(part) == MAX_SHARD_PHOTOS):
            yield part
            part = []
        part.append(photo)
    if part:
        yield part


def shard_name(kind: str, schema: pa.Schema, content: Iterable[bytes]) -> str:
    """Name a shard after all that its bytes depend on.

    Args:
        kind: First word of the name.
        schema: The columns.
        content: What the rows are made of.
    """
    digest = hashlib.sha256(repr([BATCH_ROWS, schema.names, schema.types]).encode())
    for part in content:
        digest.update(part)
    return f"{kind}-{digest.hexdigest()[:32]}.arrow"


def read_shard(path: Path, columns: list[str]) -> pa.Table | None:
    """Map columns of one shard into memory; None if it is not a sound file of ours."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            return reader.read_all().select(columns)
    except (OSError, pa.ArrowInvalid, KeyError):
        return None


@dataclass(frozen=True)
class ShardStore:
    """The shards of all versions of a set.

    Attributes:
        root: Folder of the set.
    """

    root: Path

    @property
    def folder(self) -> Path:
        """Where the shards lie."""
        return self.root / "shards"

    def path(self, name: str) -> Path:
        """The file of a shard."""
        return self.folder / name

    @contextmanager
    def locked(self, timeout: float = -1) -> Iterator[None]:
        """Keep others from writing and from removing shards: what is found stays.

        Args:
            timeout: Seconds to wait for another process; -1: as long as it takes.

        Raises:
            StorageError: If another process is still writing by then.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if timeout:
                logger.info("Waiting for another run that is writing photos into %s", self.root)
            self._wait(lock, timeout)
        try:
            yield
        finally:
            lock.release()

    def _wait(self, lock: BaseFileLock, timeout: float) -> None:
        try:
            lock.acquire(timeout=timeout)
        except Timeout as error:
            raise StorageError(
                f"Another run is writing photos into {self.root}: try again when it has ended."
            ) from error

    def holds(self, name: str, rows: int) -> bool:
        """Whether a shard is there and whole."""
        path = self.path(name)
        table = read_shard(path, []) if path.is_file() else None
        return table is not None and table.num_rows == rows

    def write(
        self,
        name: str,
        rows: Iterator[dict[str, object]],
        schema: pa.Schema,
        written: Callable[[int], Any] = lambda _: None,
    ) -> None:
        """Write a shard, the whole of it or nothing.

        Args:
            name: From `shard_name`.
            rows: Values by column.
            schema: The columns.
            written: Called with the number of rows written, now and then.
        """
        import pyarrow as pa

        with written_aside(self.path(name)) as aside, pa.ipc.new_stream(str(aside), schema) as file:
            while batch := list(islice(rows, BATCH_ROWS)):
                file.write(pa.RecordBatch.from_pylist(batch, schema))
                written(len(batch))

    def indexes(self) -> list[Path]:
        """The folder of every version; the set's own where it has no versions."""
        states = [*self.root.glob(STATE), *self.root.glob(f"*/{self.root.name}/{STATE}")]
        return sorted(path.parent for path in states)

    def unused(self, indexes: Iterable[Path]) -> list[Path]:
        """The shards, and what killed processes left of some, that no version of these has."""
        used = {name for index in indexes for name in shards_of(index)}
        there = [*self.folder.glob("*.arrow"), *self.folder.glob(".*.part")]
        return sorted(path for path in there if path.name not in used)


def write_index(
    index: Path, store: ShardStore, names: list[str], features: datasets.Features
) -> None:
    """Make a version of shards.

    A version appears whole or not at all. The one of a set without versions takes the place of
    the older one, which stays readable until then, and shards that are no longer used are removed.

    Args:
        index: Folder of the version; the store's root for a set without versions.
        store: Where the shards are; the caller holds its lock.
        names: The shards, in order.
        features: The columns.
    """
    if index == store.root:
        _write_state(index, index, store, names, features)
        for path in store.unused(store.indexes()):
            path.unlink()
        return
    with written_aside(index) as aside:
        aside.mkdir()
        _write_state(aside, index, store, names, features)


def shards_of(index: Path) -> list[str]:
    """Names of the shards of a version, in order."""
    state = json.loads((index / STATE).read_text(encoding="utf-8"))
    return [Path(file["filename"]).name for file in state["_data_files"]]


def read_index(index: Path, store: ShardStore) -> datasets.Dataset:
    """Open a version, memory-mapped.

    Raises:
        PhotoSetError: If shards are missing.
    """
    from datasets import Dataset

    names = shards_of(index)
    missing = [name for name in names if not store.path(name).is_file()]
    if missing:
        raise PhotoSetError(
            f"{len(missing):,} of the {len(names):,} files of {index} are missing, the first is"
            f" {store.path(missing[0])}.\nCopy a set with its whole folder {store.root}, or make it"
            " anew by running the stage that makes it."
        )
    return Dataset.load_from_disk(str(index))


def _write_state(
    folder: Path, index: Path, store: ShardStore, names: list[str], features: datasets.Features
) -> None:
    """Write what load_from_disk wants into `folder`, which will stand at `index`."""
    from datasets import DatasetInfo

    shards = Path(os.path.relpath(store.folder, index)).as_posix()
    state: dict[str, object] = {
        "_data_files": [{"filename": f"{shards}/{name}"} for name in names],
        "_fingerprint": hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    with TemporaryDirectory() as scratch:
        DatasetInfo(features=features).write_to_directory(scratch, pretty_print=True)
        info = (Path(scratch) / INFO).read_text(encoding="utf-8")
    path = folder / INFO
    if not path.is_file() or path.read_text(encoding="utf-8") != info:
        # Other columns than before: the old files must never be read by the new description.
        (folder / STATE).unlink(missing_ok=True)
        with written_aside(path) as aside:
            aside.write_text(info, encoding="utf-8")
    with written_aside(folder / STATE) as aside:
        aside.write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
