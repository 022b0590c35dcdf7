"""Photos without labels, in a folder that need not be there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml._io.remote import RemotePath, copy_of, is_remote
from cannabis_ml._io.synced_folder import SyncedFolder
from cannabis_ml.photos.found_files import files_below, may_be_photo


class PhotoFolderDataset(AbstractDataset[None, "list[Path]"]):
    """Loads the paths of the photos below a folder, in order; none where there is no folder.

    Args:
        filepath: A local folder, or an address that fsspec knows, of which a copy is loaded.
        credentials: Options of the other file system.
        cache: Local folder for the copy; None keeps it until the process ends.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        credentials: dict[str, object] | None = None,
        cache: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._filepath, self._credentials, self._cache = str(filepath), credentials, cache

    def load(self) -> list[Path]:
        folder = self._folder()
        if not folder.is_dir():
            return []
        paths = (folder.joinpath(*parts) for parts in files_below(folder))
        return [path for path in paths if may_be_photo(path)]

    def save(self, data: None) -> NoReturn:
        raise DatasetError(f"{self._filepath} is read-only: put photos into it yourself.")

    def _folder(self) -> Path:
        if not is_remote(self._filepath):
            return Path(self._filepath)
        remote = RemotePath.at(self._filepath, self._credentials)
        local = copy_of(remote, self._cache)
        SyncedFolder(remote, local).pull()
        return local

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": self._filepath}
