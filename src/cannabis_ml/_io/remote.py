"""Files and folders of other file systems, such as `s3://` and `memory://`, by local copies."""

from __future__ import annotations

import atexit
import functools
import hashlib
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from cannabis_ml._io.files import written_aside
from cannabis_ml._io.storage_protocols import is_part, part_of, register


def is_remote(path: str) -> bool:
    """Whether a path is an address of another file system."""
    return "://" in path and not path.startswith("file://")


@dataclass(frozen=True)
class RemotePath:
    """A file or folder of another file system.

    Attributes:
        fs: The file system.
        path: As that file system writes paths.
    """

    fs: AbstractFileSystem
    path: str

    @classmethod
    def at(cls, address: str, credentials: Mapping[str, object] | None = None) -> RemotePath:
        """Find what an address names.

        Args:
            address: As fsspec writes it: `s3://bucket/photos`.
            credentials: Options of the file system.
        """
        register()
        return cls(*url_to_fs(address, **(credentials or {})))

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.fs, posixpath.normpath(posixpath.join(self.path, name)))

    def __str__(self) -> str:
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """Last part of the path."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in."""
        return RemotePath(self.fs, posixpath.dirname(self.path))

    def is_file(self) -> bool:
        """Whether it is there, and a file."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether it is there, and a folder."""
        return self._kind() == "directory"

    def _kind(self) -> str | None:
        """`file`, `directory` or None.

        fsspec's own questions answer "no" to any error: a broken line would be an empty ledger.
        """
        try:
            return str(self.fs.info(self.path)["type"])
        except FileNotFoundError:
            return None

    def names(self) -> set[str]:
        """Names of what a folder holds; none where it is not there."""
        self.fs.invalidate_cache()
        if not self.is_dir():
            return set()
        return {
            posixpath.basename(path.rstrip("/")) for path in self.fs.ls(self.path, detail=False)
        }

    def files(self) -> dict[str, dict[str, Any]]:
        """What fsspec knows of each file below a folder, by path from there.

        Of none where the folder is not there.
        """
        return {name: entry for name, entry in self._found().items() if not is_part(name)}

    def unfinished_files(self) -> dict[str, dict[str, Any]]:
        """The same of each file that is being uploaded, or whose upload was killed."""
        return {name: entry for name, entry in self._found().items() if is_part(name)}

    def _found(self) -> dict[str, dict[str, Any]]:
        self.fs.invalidate_cache()
        if not self.is_dir():
            return {}
        found = self.fs.find(self.path, detail=True)
        return {posixpath.relpath(path, self.path): entry for path, entry in found.items()}

    def written_at(self) -> float:
        """When the file was written, in seconds since 1970.

        Raises:
            FileNotFoundError: If it is not there.
        """
        return written(self.fs.info(self.path))

    def download(self, local: Path) -> None:
        """Bring the file, or the whole folder, to a local path: all of it, or nothing.

        Raises:
            FileNotFoundError: If it is not there.
        """
        if not self.is_dir():
            with written_aside(local) as aside:
                self.fs.get_file(self.path, str(aside))
            return
        with written_aside(local) as aside:
            aside.mkdir()
            for path in self.fs.find(self.path):
                if is_part(path):
                    continue
                file = aside / posixpath.relpath(path, self.path)
                file.parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(path, str(file))

    def upload(self, local: Path, last: str = "") -> None:
        """Put a local file or folder here; what is there is replaced.

        A file appears whole. Of a folder each file does, and `last` when all others are there.

        Args:
            local: The file or folder.
            last: Path below a folder of the file by which others know that it is complete.
        """
        if local.is_file():
            self._upload_file(local)
        else:
            self.remove(first=last)
            try:
                self._upload_folder(local, last)
            except BaseException:
                self.remove(first=last)
                raise
        self.fs.invalidate_cache()

    def remove(self, first: str = "") -> None:
        """Remove the file or folder, if it is there.

        Args:
            first: Path below a folder of the file that goes before all others, as `last` came.
        """
        self.fs.invalidate_cache()
        if first and (self / first).is_file():
            self.fs.rm((self / first).path)
        if self._kind() is not None:
            self.fs.rm(self.path, recursive=True)
        self.fs.invalidate_cache()

    def _upload_folder(self, local: Path, last: str) -> None:
        self.fs.makedirs(self.path, exist_ok=True)
        files = sorted(path for path in local.rglob("*") if path.is_file())
        for file in sorted(files, key=lambda file: file == local / last):
            (self / file.relative_to(local).as_posix())._upload_file(file)

    def _upload_file(self, local: Path) -> None:
        if getattr(self.fs, "writes_whole", False):  # object storage
            self.fs.put_file(str(local), self.path)
            return
        part = part_of(self.path)
        self.fs.makedirs(posixpath.dirname(self.path), exist_ok=True)
        try:
            self.fs.put_file(str(local), part)
            self.fs.mv(part, self.path)
        except BaseException:
            if self.fs.exists(part):
                self.fs.rm(part)
            raise


def written(entry: Mapping[str, Any]) -> float:
    """When a file was written, in seconds since 1970, by what fsspec knows of it."""
    when = entry.get("mtime") or entry.get("LastModified") or entry.get("created") or 0.0
    return when.timestamp() if isinstance(when, datetime) else float(when)


def local_copy(remote: RemotePath, fresh: bool = True) -> Path:
    """A copy of a file or folder that stays until the process ends.

    Args:
        remote: The file or folder.
        fresh: Bring it again; False where it cannot have changed since it was brought.
    """
    local = downloads() / _key(remote) / remote.name
    if fresh or not local.exists():
        remote.download(local)
    return local


@contextmanager
def uploaded(remote: RemotePath, last: str = "") -> Iterator[Path]:
    """Give a local path to write to; upload it, and what is written beside it, if all went well.

    Args:
        remote: Where it belongs.
        last: As in `RemotePath.upload`.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / remote.name
        yield local
        beside = [path for path in Path(folder).iterdir() if path != local]
        for path in (*beside, local):
            (remote.parent / path.name).upload(path, last)


def copy_of(remote: RemotePath, cache: str | None) -> Path:
    """Where the local copy of a folder lies.

    Args:
        remote: The folder.
        cache: Folder for copies that stay; None: one that ends with the process.
    """
    if cache is None:
        return downloads(remote) / remote.name
    return Path(cache).absolute() / _key(remote) / remote.name


def downloads(remote: RemotePath | None = None) -> Path:
    """The folder of what this process has brought from elsewhere, or of one of these."""
    return _downloads() / _key(remote) if remote else _downloads()


@functools.cache
def _downloads() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cannabis_ml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _key(remote: RemotePath) -> str:
    return hashlib.sha256(str(remote).encode()).hexdigest()[:16]
