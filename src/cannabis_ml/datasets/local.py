"""What the catalog types for files and folders of a local disk share."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class LocalDataset(AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """A file or a folder on a local disk, versioned or not.

    Args:
        filepath: Where it is.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        super().__init__(filepath=PurePosixPath(Path(filepath).as_posix()), version=version)

    def _is_there(self, path: Path) -> bool:
        """Whether what `save` writes is at a path."""
        return path.is_file()

    def _exists(self) -> bool:
        try:
            return self._is_there(Path(self._get_load_path()))
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
