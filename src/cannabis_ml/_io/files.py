"""Atomic writes of files and folders, their hash, and paths with `~`."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from pydantic import AfterValidator, BeforeValidator

from cannabis_ml.errors import ConfigError, StorageError
from cannabis_ml.text import one_line

_UNFINISHED = re.compile(r"\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.(part|old)")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_MESSAGE = re.compile(
    # Errors of writers in Rust and SQLite have no number.
    r"No space left on device|os error (28|122|27)\b|Disk quota exceeded|database or disk is full"
)

MAKE_ROOM = (
    "Make room there, or let `data` in globals.yml name a folder on a larger disk; then run the"
    " same command again."
)


def at_home(path: str) -> str:
    """A path with the home folder in place of a leading `~` or `~user`.

    Raises:
        ConfigError: If that home folder is not known.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"'{path}' starts in a home folder that is not known here ({error}).\n"
            f"Write the whole path, or './{path}' for a file or folder of that very name."
        ) from error


def _refuse_number(value: object) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError(f"was read as {value!r}, not as a path: write './' before the name")
    return value


HomePath = Annotated[
    Path, BeforeValidator(_refuse_number), AfterValidator(lambda path: Path(at_home(str(path))))
]
"""A path among parameters, where `~` stands for the home folder."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a sibling path to write to, and put it in place of `path` once all went well.

    Works for a file or a folder. An older one stays as it is until the new one is complete; what
    an error leaves half-written is removed, and what a killed process left is too, by the next
    that writes here.

    Args:
        path: Where the result belongs; missing parent folders are made.

    Raises:
        StorageError: If the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    aside = _sibling(path, "part")
    try:
        yield aside
        if path.is_dir():
            # A folder cannot be renamed over another: move the old one out of the way first.
            old = _sibling(path, "old")
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.replace(path)
    except StorageError:
        raise
    except Exception as error:
        full = disk_full(error)
        if full is None:
            raise
        kept = ", and the older one stays" if path.exists() else ""
        raise StorageError(
            f"There is no room for {path}: {_reason(full)}, after {_size(aside) / 1e6:,.1f} MB of"
            f" it. Nothing half-written was left{kept}."
            f"\n{MAKE_ROOM}"
        ) from error
    finally:
        _remove(aside)


def disk_full(error: BaseException) -> BaseException | None:
    """The one among an error and its causes that means that a disk, or a share of it, is full."""
    chain: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in chain:
        chain.append(now)
        now = now.__cause__ or now.__context__
    numbered = [e for e in chain if getattr(e, "errno", None) in _FULL]
    # Others repeat the message of their cause: the last of them is the cause.
    by_message = [e for e in reversed(chain) if _FULL_MESSAGE.search(str(e))]
    return next(iter([*numbered, *by_message]), None)


def no_room(full: BaseException, where: str | None = None) -> StorageError:
    """The error for what `disk_full` found, where a writer of another library was at work."""
    where = getattr(full, "filename", None) or where
    return StorageError(
        f"There is no room for {where or 'what was being written'}: {_reason(full)}.\n{MAKE_ROOM}"
    )


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number in _FULL else one_line(error)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _sibling(path: Path, suffix: str) -> Path:
    """Name a path after who writes it, so that others can see whether it still runs."""
    writer = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
    return path.with_name(f".{path.name}.{writer}.{suffix}")


def _remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that are no more left beside `path`."""
    for sibling in path.parent.glob(f".{glob.escape(path.name)}.*"):
        match = _UNFINISHED.fullmatch(sibling.name.removeprefix(f".{path.name}"))
        if match and match["host"] == socket.gethostname() and not _is_running(int(match["pid"])):
            _remove(sibling)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another person's process
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
