"""Sources whose photos lie on another file system, by local copies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cannabis_ml._io.remote import RemotePath, copy_of, is_remote
from cannabis_ml._io.synced_folder import SyncedFolder
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import Source
from cannabis_ml.photo_sets.sources.hub import HubSource
from cannabis_ml.photo_sets.sources.sample import DrawnSource

MADE_HERE = (DrawnSource, HubSource)
"""Kinds that fill their folder themselves, on every machine with the same photos."""

FIELDS = ("photos_root", "leaf_map")
"""Fields that are addresses beside `path`."""


def local_source(
    source: Source, credentials: Mapping[str, object] | None, cache: str | None
) -> Source:
    """The source with local paths in place of addresses, and what lies there brought.

    Args:
        source: As configured.
        credentials: Options of the other file system.
        cache: Local folder for copies, in which only what changed is brought again; None: they
            end with the process.

    Raises:
        SourceError: If nothing is at an address.
    """
    local: dict[str, str] = {}
    for field in ("path", *FIELDS):
        address = getattr(source, field, None)
        if not address or not is_remote(address):
            continue
        remote = RemotePath.at(address, credentials)
        if isinstance(source, MADE_HERE):
            local[field] = str(copy_of(remote, cache))
        else:
            elsewhere = any(getattr(source, name, None) for name in ("photos_root", "read_urls"))
            local[field] = str(_copy(remote, cache, field == "path" and not elsewhere))
    return source.model_copy(update=local) if local else source


def _copy(remote: RemotePath, cache: str | None, with_folder: bool) -> Path:
    """A folder, or a file, alone or with the folder that it is in: its photos lie beside it."""
    if remote.is_file():
        if with_folder:
            return _copy(remote.parent, cache, with_folder) / remote.name
        copy = copy_of(remote, cache)
        remote.download(copy)
        return copy
    if not remote.is_dir():
        raise SourceError(
            f"{remote} does not exist.\nCheck the address for typing errors, in"
            " catalog_ingestion.yml or where it was given with --params."
        )
    folder = SyncedFolder(remote, copy_of(remote, cache))
    folder.pull()
    return folder.local
