"""Where catalog entries lie, ours and Kedro's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, AbstractVersionedDataset

from cannabis_ml._io.remote import RemotePath, local_copy
from cannabis_ml.datasets.path import PathDataset


def saved_path(dataset: AbstractDataset[Any, Any]) -> Path:
    """Local file or folder that a catalog entry was last saved to, or a copy of a remote one."""
    if isinstance(dataset, PathDataset):
        return dataset.local_path()
    place = place_of(dataset)
    return local_copy(place) if isinstance(place, RemotePath) else place


def place_of(dataset: AbstractDataset[Any, Any], path: Any = None) -> Path | RemotePath:
    """Where a catalog entry was last saved to, or another path of its file system."""
    if path is None and isinstance(dataset, AbstractVersionedDataset):
        path = dataset._get_load_path()
    path = str(path or root_of(dataset))
    if isinstance(dataset, PathDataset):
        return Path(path) if dataset.remote is None else RemotePath(dataset.remote.fs, path)
    fs = getattr(dataset, "_fs", None)  # as Kedro's own types have it
    is_local = fs is None or getattr(dataset, "_protocol", "file") == "file"
    return Path(path) if is_local else RemotePath(fs, path)


def root_of(dataset: AbstractDataset[Any, Any]) -> str:
    """The path of an entry as the catalog has it, below which its versions lie."""
    return str(getattr(dataset, "_filepath", ""))
