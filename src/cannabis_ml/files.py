"""Paths as people write them, and writing that is whole or not at all."""

from __future__ import annotations

import glob
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

from cannabis_ml.errors import ConfigError

_UNFINISHED = re.compile(r"\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.(part|old)")


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


def _refuse_number(value: Any) -> Any:
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
    finally:
        _remove(aside)


def _sibling(path: Path, suffix: str) -> Path:
    """Name a path after who writes it, so that others can tell whether they still do."""
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
