"""Photos on disk or in object storage, each under the hash of its bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from cannabis_ml._io.storage_protocols import register
from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.photo_cleaning import CleanPhoto
from cannabis_ml.photos.fingerprint import photo_id as id_of

_NAME = re.compile(r"(?P<id>[0-9a-f]{64})(?P<suffix>\.jpg|\.png)")


class PhotoStore:
    """Files `ab/abcd….jpg` below an address that fsspec knows.

    A file appears whole under its name or not at all, so that writers need no lock: who writes the
    same photo writes the same bytes.

    Args:
        address: A folder, or such as `s3://bucket/feedback`.
        credentials: Options of the file system.
    """

    def __init__(self, address: str, credentials: Mapping[str, Any] | None = None) -> None:
        register()
        self._fs, self._root = url_to_fs(address, **(credentials or {}))
        self._is_local = _is_local(self._fs)

    def put(self, photo: CleanPhoto) -> None:
        """Write a photo, unless it is there."""
        path = self._path(photo.photo_id, photo.suffix)
        if self._fs.exists(path):
            return
        write_whole(self._fs, path, photo.data)

    def folder(self, name: str) -> tuple[AbstractFileSystem, str]:
        """A folder within, for files other than photos of feedback: its file system and path."""
        return self._fs, f"{self._root}/{name}"

    def get(self, photo_id: str, suffix: str) -> bytes:
        """The bytes of a photo.

        Raises:
            FeedbackError: If they are not there, or not those that were written.
        """
        path = self._path(photo_id, suffix)
        try:
            data: bytes = self._fs.cat_file(path)
        except FileNotFoundError:
            raise FeedbackError(f"The photo {path} is missing.") from None
        if id_of(data) != photo_id:
            raise FeedbackError(f"The photo {path} was changed after it was stored.")
        return data

    def holds(self, photo_id: str, suffix: str) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._path(photo_id, suffix)))

    def remove(self, photo_id: str, suffix: str) -> None:
        """Remove a photo, if it is there."""
        path = self._path(photo_id, suffix)
        self._fs.invalidate_cache()
        if self._fs.exists(path):
            self._fs.rm(path)
        self._fs.invalidate_cache()

    def address(self, photo_id: str, suffix: str) -> str:
        """Where a photo lies: a path on this machine, or an address that fsspec knows."""
        path = self._path(photo_id, suffix)
        return path if self._is_local else str(self._fs.unstrip_protocol(path))

    def __iter__(self) -> Iterator[tuple[str, str, float]]:
        """Id, suffix and age in seconds of each photo and of each unfinished file (suffix `.part`).

        Age is infinite where the file system does not record it.
        """
        import time

        self._fs.invalidate_cache()
        if not self._fs.exists(self._root):
            return
        for path in self._fs.find(self._root):
            name = path.rpartition("/")[2]
            match = _NAME.match(name)
            if match:
                age = _age(self._fs, path, time.time())
                rest = name[match.end() :]
                yield match["id"], match["suffix"] + rest, age

    def _path(self, photo_id: str, suffix: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", photo_id):
            raise FeedbackError(f"{photo_id[:80]!r} is not a photo's id.")
        return f"{self._root}/{photo_id[:2]}/{photo_id}{suffix}"


def write_whole(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a file that is there whole or not at all, and survives a loss of power."""
    if getattr(fs, "writes_whole", False):  # object storage
        fs.pipe_file(path, data)
        return
    part = f"{path}.{uuid4().hex[:8]}.part"
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    try:
        if _is_local(fs):
            _write_durably(Path(part), Path(path), data)
        else:
            fs.pipe_file(part, data)
            fs.mv(part, path)
    except BaseException:
        if fs.exists(part):
            fs.rm(part)
        raise


def _is_local(fs: AbstractFileSystem) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _age(fs: Any, path: str, now: float) -> float:
    try:
        return now - float(fs.modified(path).timestamp())
    except (NotImplementedError, AttributeError, FileNotFoundError):
        return float("inf")


def _write_durably(part: Path, path: Path, data: bytes) -> None:
    """Write, and return when a loss of power can no longer undo it."""
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
