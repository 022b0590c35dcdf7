"""Reading a photo's file, by its path on this machine or by its URL on another file system."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from cannabis_ml._io.file_names import on_disk
from cannabis_ml.errors import SourceError

R = TypeVar("R")

start_folder: ContextVar[str] = ContextVar("start_folder", default="")
"""What relative paths start from; empty: the working directory. A worker of a cluster has another
one than the process that asks."""

TRIES = 4
"""Of a request to another file system, the waits between them doubling from one second."""


def is_url(path: str) -> bool:
    """Whether a photo lies on another file system, such as `s3://bucket/a.jpg`."""
    return "://" in path and not path.startswith("file://")


def file_size(path: str) -> int | None:
    """Bytes of a photo's file; None where there is something else, such as a pipe or a folder.

    Args:
        path: As tables hold it.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be looked at.
        SourceError: If another file system does not answer.
    """
    if not is_url(path):
        status = _local(path).stat()
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    from cannabis_ml._io.remote import RemotePath

    remote = RemotePath.at(path)
    found = _patiently(lambda: remote.fs.info(remote.path), path)
    return int(found["size"]) if found["type"] == "file" else None


def read_file(path: str) -> bytes:
    """The bytes of a photo's file.

    Args:
        path: As tables hold it.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be read.
        SourceError: If another file system does not answer.
    """
    if not is_url(path):
        return _local(path).read_bytes()
    from cannabis_ml._io.remote import RemotePath

    remote = RemotePath.at(path)
    return bytes(_patiently(lambda: remote.fs.cat_file(remote.path), path))


def _local(path: str) -> Path:
    start = start_folder.get()
    return on_disk(f"{start}/{path}" if start and not Path(path).is_absolute() else path)


def _patiently(request: Callable[[], R], path: str) -> R:
    """Ask again where a network fails: that says nothing of the photo."""
    for tried in range(1, TRIES + 1):
        try:
            return request()
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except OSError as error:
            if tried == TRIES:
                raise SourceError(
                    f"{path} could not be read in {TRIES} tries ({error}).\nCheck the network and"
                    " the credentials of the machines that read photos, and run again."
                ) from error
            time.sleep(2 ** (tried - 1))
    raise AssertionError("unreachable")
