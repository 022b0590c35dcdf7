"""Sets of photos on another file system: kept there, read and written by way of a local copy.

Shards never change, so each is brought or uploaded once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePosixPath

from cannabis_ml._io.files import written_aside
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.remote import RemotePath, written
from cannabis_ml.photo_sets.shards import INFO, STATE, ShardStore, shards_of

TRANSFERS = 8
"""Shards that are on their way at once."""

UPLOAD_SECONDS = 86_400
"""How long the upload of a version may take."""

UNVERSIONED = "."
"""In place of a version, of a set that has none."""


def fetch(remote: RemotePath, store: ShardStore, version: str) -> Path:
    """Bring a version, and what it has of shards that are not here yet.

    Args:
        remote: Folder of the set.
        store: The local copy.
        version: Folder of the version, below that of the set.

    Returns:
        The local folder of the version.
    """
    index, there = store.root / version, remote / version
    with store.locked():
        if version == UNVERSIONED:
            (remote / INFO).download(index / INFO)
            (remote / STATE).download(index / STATE)
        elif not (index / STATE).is_file():
            with written_aside(index) as aside:
                aside.mkdir()
                (there / INFO).download(aside / INFO)
                (there / STATE).download(aside / STATE)
        missing = [name for name in shards_of(index) if not store.path(name).is_file()]
        shards = _shards(remote)
        for _ in map_in_order(partial(_fetch, shards, store), missing, TRANSFERS):
            pass
    return index


def push(remote: RemotePath, store: ShardStore, version: str) -> None:
    """Upload a version, and what it has of shards that are not there yet.

    Others see it when all of it is there. Of a set without versions, shards that are no longer
    used are removed.

    Args:
        remote: Folder of the set.
        store: The local copy, which has the version.
        version: Folder of the version, below that of the set.
    """
    index, there = store.root / version, remote / version
    shards = _shards(remote)
    uploaded, names = shards.names(), shards_of(index)
    missing = [name for name in names if name not in uploaded]
    for _ in map_in_order(partial(_push, shards, store), missing, TRANSFERS):
        pass
    if version == UNVERSIONED:  # the old files must never be read by the new description
        (remote / STATE).remove()
    for name in (INFO, STATE):
        (there / name).upload(index / name)
    if version == UNVERSIONED:
        for name in uploaded - set(names):
            (shards / name).remove()


def _fetch(shards: RemotePath, store: ShardStore, name: str) -> None:
    (shards / name).download(store.path(name))


def _push(shards: RemotePath, store: ShardStore, name: str) -> None:
    (shards / name).upload(store.path(name))


def unused_shards(remote: RemotePath, gone: Collection[str] = ()) -> dict[str, int]:
    """Bytes of the shards that no version has, by name.

    Those of the last day are left out: another run may be uploading what it will use.

    Args:
        remote: Folder of the set.
        gone: Versions that are about to be removed.
    """
    files = remote.files()
    used: set[str] = set()
    for name in files:
        parts = name.split("/")
        if parts[-1] == STATE and parts[0] not in gone:
            state = json.loads(remote.fs.cat_file((remote / name).path))
            used.update(PurePosixPath(file["filename"]).name for file in state["_data_files"])
    folder, before = ShardStore(Path()).folder.name, time.time() - UPLOAD_SECONDS
    return {
        name.rpartition("/")[2]: int(entry["size"])
        for name, entry in files.items()
        if name.startswith(f"{folder}/")
        and name.rpartition("/")[2] not in used
        and written(entry) < before
    }


def remove_unused_shards(remote: RemotePath) -> None:
    """Remove what `unused_shards` finds."""
    for name in unused_shards(remote):
        (_shards(remote) / name).remove()


def _shards(remote: RemotePath) -> RemotePath:
    return remote / ShardStore(Path()).folder.name
