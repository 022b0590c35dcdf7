"""Reading a photo's file, by its path on this machine or by its URL on another file system."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cannabis_ml._io.file_names import on_disk
from cannabis_ml.errors import SourceError
from cannabis_ml.text import one_line

if TYPE_CHECKING:
    from cannabis_ml._io.remote import RemotePath

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
        OSError: If it cannot be looked at, on this machine.
        SourceError: If another file system does not answer or refuses.
    """
    if not is_url(path):
        status = _local(path).stat()
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    found = _patiently(_info, path)
    return int(found["size"] or 0) if found["type"] == "file" else None


def read_file(path: str) -> bytes:
    """The bytes of a photo's file.

    Args:
        path: As tables hold it.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be read, on this machine.
        SourceError: If another file system does not answer or refuses.
    """
    if not is_url(path):
        return _local(path).read_bytes()
    return _patiently(_content, path)


def _local(path: str) -> Path:
    start = start_folder.get()
    return on_disk(f"{start}/{path}" if start and not Path(path).is_absolute() else path)


def _info(url: str) -> Mapping[str, Any]:
    remote = _remote(url)
    found: Mapping[str, Any] = remote.fs.info(remote.path)
    return found


def _content(url: str) -> bytes:
    remote = _remote(url)
    return bytes(remote.fs.cat_file(remote.path))


def _remote(url: str) -> RemotePath:
    from cannabis_ml._io.remote import RemotePath

    return RemotePath.at(url)


def _patiently(request: Callable[[str], R], url: str) -> R:
    """Ask again where a network fails: that says nothing of the photo; nor does no permission."""
    tried = 0
    while True:
        try:
            return request(url)
        except FileNotFoundError:
            raise
        except Exception as error:  # clients of other file systems have errors of their own
            tried += 1
            if tried == TRIES or isinstance(error, PermissionError | ImportError | ValueError):
                raise SourceError(
                    f"{url} cannot be read ({one_line(error)}).\nCheck the network, and the"
                    " credentials and libraries of the machines that read photos, and run again."
                ) from error
        time.sleep(2 ** (tried - 1))
