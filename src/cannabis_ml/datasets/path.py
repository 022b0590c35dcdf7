"""What catalog types for files and folders share, local or on another file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version

from cannabis_ml._io.remote import RemotePath, is_remote, local_copy, uploaded

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")

COMPLETE = ".complete"
"""Empty file of a folder on another file system that is uploaded last."""


class PathDataset(AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """A file or a folder, versioned or not.

    What lies on another file system is worked on as a local copy: brought before it is read,
    uploaded once it was written.

    Args:
        filepath: Where it is: a local path, or an address that fsspec knows, such as `s3://…`.
        version: Kedro's version, where the entry is versioned.
        credentials: Options of the other file system.
        metadata: For plugins; Kedro ignores it.
    """

    MARKER: ClassVar[str | None] = None
    """File of a folder that is there once all others are; "" for any folder, None for a file.

    On another file system any folder gets one, `COMPLETE`: there, folders do not appear whole.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        version: Version | None = None,
        credentials: dict[str, object] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self.remote: RemotePath | None = None
        if not is_remote(str(filepath)):
            path = PurePosixPath(Path(filepath).as_posix())
            super().__init__(filepath=path, version=version)
            return
        self.remote = RemotePath.at(str(filepath), credentials)
        super().__init__(
            filepath=PurePosixPath(self.remote.path),
            version=version,
            # A folder that an upload left behind when it broke off is not a version.
            exists_function=lambda path: self._is_there(self._at(path)),
            glob_function=self.remote.fs.glob,
        )

    def local_path(self) -> Path:
        """The file or folder that is loaded; of another file system, a copy of it."""
        path = self._get_load_path()
        if self.remote is None:
            return Path(path)
        copy = local_copy(self._at(path), fresh=self._version is None)
        if self.MARKER == "":
            (copy / COMPLETE).unlink(missing_ok=True)
        return copy

    @contextmanager
    def saving(self) -> Iterator[Path]:
        """Give the local path to write to."""
        path = self._get_save_path()
        if self.remote is None:
            yield Path(path)
            return
        last = COMPLETE if self.MARKER == "" else self.MARKER or ""
        with uploaded(self._at(path), last) as local:
            yield local
            if self.MARKER == "":
                (local / COMPLETE).touch()

    def _at(self, path: PurePosixPath | str) -> RemotePath:
        assert self.remote is not None
        return RemotePath(self.remote.fs, str(path))

    def _exists(self) -> bool:
        try:
            load_path = self._get_load_path()
        except DatasetError as error:
            if error.__cause__ is not None:  # versions could not be asked for
                raise
            return False
        return self._is_there(Path(load_path) if self.remote is None else self._at(load_path))

    def _is_there(self, path: Path | RemotePath) -> bool:
        if self.MARKER is None:
            return path.is_file()
        if self.MARKER == "" and isinstance(path, RemotePath):
            return (path / COMPLETE).is_file()
        return (path / self.MARKER).is_file() if self.MARKER else path.is_dir()

    def _release(self) -> None:
        super()._release()
        if self.remote is not None:
            self.remote.fs.invalidate_cache()

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self.remote or self._filepath), "version": self._version}
