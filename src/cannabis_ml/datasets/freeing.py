"""What versions of a catalog entry take, and how they are removed, here and elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset

from cannabis_ml._io.remote import RemotePath, is_remote, written
from cannabis_ml.datasets.path import COMPLETE, PathDataset
from cannabis_ml.datasets.photo_set import ShardedDataset
from cannabis_ml.datasets.places import place_of, root_of
from cannabis_ml.photo_sets.mirror import UPLOAD_SECONDS, remove_unused_shards, unused_shards
from cannabis_ml.photo_sets.shards import ShardStore

TRASH = ".pruned"
"""Folder of an entry that versions are moved to at once, and then removed file by file."""

Versioned = AbstractVersionedDataset[Any, Any]


def stored_bytes(dataset: Versioned, versions: Collection[str]) -> int:
    """Bytes that removing these versions frees, with what an interrupted removal left."""
    folder = place_of(dataset, root_of(dataset))
    if isinstance(folder, RemotePath):
        files = folder.files()
        gone = {*versions, *_unfinished(dataset, files)}
        size = sum(int(e["size"]) for name, e in files.items() if _top(name) in gone)
        if isinstance(dataset, ShardedDataset):
            size += sum(unused_shards(folder, gone).values())
        return size
    size = sum(_size(folder / version) for version in (*versions, TRASH))
    if isinstance(dataset, ShardedDataset):
        left = {folder / version for version in versions}
        kept = (index for index in dataset.store.indexes() if index.parent not in left)
        size += sum(path.stat().st_size for path in dataset.store.unused(kept))
    return size


def remove_versions(dataset: Versioned, versions: Collection[str]) -> None:
    """Remove versions, and elsewhere what killed uploads left of some.

    Interrupted at any moment, each is there whole or is not a version.

    Raises:
        StorageError: If another run of this machine is writing photos.
    """
    folder = place_of(dataset, root_of(dataset))
    if isinstance(folder, RemotePath):
        for version in (*versions, *_unfinished(dataset, folder.files())):
            (folder / version).remove(first=_decisive(dataset, folder.name))
        if isinstance(dataset, ShardedDataset):
            remove_unused_shards(folder)
        return
    if not isinstance(dataset, ShardedDataset):
        _remove(folder, versions)
        return
    if not dataset.store.root.is_dir():
        return
    with dataset.store.locked(timeout=0):
        _remove(folder, versions)
        for path in dataset.store.unused(dataset.store.indexes()):
            path.unlink()


def unfinished_uploads(entry: PathDataset[Any, Any], address: str) -> dict[RemotePath, int]:
    """Bytes of the files that killed uploads left beside their places.

    Those of the last day are left out: an upload may be going on. Where objects appear whole by
    themselves, as on Amazon S3 and Google Cloud Storage, there are none.

    Args:
        entry: Of the catalog; its file system is looked at.
        address: Of a folder there, with all that is below; none are found in a local folder.
    """
    if entry.remote is None or not is_remote(address):
        return {}
    fs, before = entry.remote.fs, time.time() - UPLOAD_SECONDS
    root = RemotePath(fs, str(fs._strip_protocol(address)))
    return {
        root / name: int(found["size"])
        for name, found in root.unfinished_files().items()
        if written(found) < before
    }


def _unfinished(dataset: Versioned, files: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Folders that uploads left which were killed more than a day ago.

    Args:
        dataset: The entry.
        files: What is below its folder on another file system.
    """
    if not isinstance(dataset, PathDataset) or dataset.MARKER is None:
        return set()  # files appear whole
    before = time.time() - UPLOAD_SECONDS
    decisive = _decisive(dataset, dataset._filepath.name)
    tops = {_top(name) for name in files} - {ShardStore(Path()).folder.name}
    recent = {_top(name) for name, entry in files.items() if written(entry) > before}
    return {top for top in tops - recent if f"{top}/{decisive}" not in files}


def _top(name: str) -> str:
    return name.partition("/")[0]


def _decisive(dataset: Versioned, name: str) -> str:
    """Path below a version of the file without which it is none."""
    marker = dataset.MARKER if isinstance(dataset, PathDataset) else None
    return name if marker is None else f"{name}/{marker or COMPLETE}"


def _remove(folder: Path, versions: Collection[str]) -> None:
    """Remove versions of a local entry: each is there whole, or not at all."""
    trash = folder / TRASH
    for version in versions:
        trash.mkdir(exist_ok=True)
        (folder / version).rename(trash / version)
    if trash.is_dir():
        shutil.rmtree(trash)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
