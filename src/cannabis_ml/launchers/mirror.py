"""A folder of data kept twice: on a disk to work on, and in a bucket that survives the machine."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

COPY_SECONDS = float(os.environ.get("CANNABIS_ML_MIRROR_SECONDS", "60"))
"""Between two copies while the job runs: what a preemption can cost besides the resumed steps."""

LIST, PREVIOUS = "mirrored.json", "mirrored.previous.json"
"""What the last whole copy and the one before it have; only what a list names is restored."""

PLACES = ("0", "1", "2")
"""Folders of the copies: a new version never overwrites one that a list names."""

UNSTEADY = 3
"""So often a copy during which files changed is not listed; then it is, or there would be none."""

_UNFINISHED = re.compile(r"\..*\.(part|old)|.*-(journal|wal|shm)")

logger = logging.getLogger(__name__)


class Kept(BaseModel):
    """The copy of one file.

    Attributes:
        at: Its path below the folder that survives.
        size: Bytes.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    size: int


class Listing(RootModel[dict[str, Kept]]):
    """What a whole copy has: per file below `data` its copy."""


class Mirror:
    """Copies changed files of `data` to `there`, and back where `data` is new.

    What is restored is as all files were at one time: a training state, say, together with the
    weights that it names. Files are compared by size and time. SQLite databases are copied by
    SQLite, so that the copy is sound while they are written.

    Args:
        data: Folder to work on.
        there: Folder that survives; nothing is done if it is None or empty. Its files are written
            from beginning to end, the list last; a provider that sends them on in another order
            costs the last copy, not the one before it.
        without: Folder below `data` that is not copied: it is brought to each attempt.
    """

    def __init__(self, data: Path, there: str | None, without: str | None = None) -> None:
        self._data, self._there = data, Path(there) if there else None
        self._without = data / without if without else None
        self._stamps: dict[str, tuple[int, int]] = {}
        self._kept: dict[str, Kept] = {}
        self._previous: dict[str, Kept] = {}
        self._unsteady = 0
        self._last = time.monotonic()

    def restore(self) -> None:
        """Bring back what the last whole copy had, unless it is here."""
        if self._there is None:
            return
        for name in (LIST, PREVIOUS):
            kept = self._listed(name)
            if kept is not None:
                break
        else:
            return
        for name, copy in kept.items():
            here = self._data / name
            if not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                aside = here.with_name(f".{here.name}.restored.part")
                shutil.copyfile(self._there / copy.at, aside)
                aside.replace(here)
            self._stamps[name] = _stamp(here)
        self._kept, self._previous = kept, kept

    def copy_sometimes(self) -> None:
        """Copy, if the last time is long enough ago."""
        if time.monotonic() - self._last >= COPY_SECONDS:
            self.copy()

    def copy(self) -> None:
        """Copy what has changed, list it, and then remove what no list names."""
        if self._there is None:
            return
        stamps = {path.relative_to(self._data).as_posix(): _stamp(path) for path in self._files()}
        kept = {name: copy for name, copy in self._kept.items() if name in stamps}
        steady = True
        for name, stamp in stamps.items():
            if self._stamps.get(name) == stamp and name in kept:
                continue
            at = self._free(name)
            to = self._there / at
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                copy_sound(self._data / name, to)
                steady = steady and (_stamp(self._data / name) == stamp or _is_database(to))
            except FileNotFoundError:  # gone since
                steady = False
                continue
            kept[name] = Kept(at=at, size=to.stat().st_size)
        self._last = time.monotonic()
        if not steady and self._unsteady < UNSTEADY and self._kept:
            self._unsteady += 1
            return
        self._unsteady = 0
        self._list(kept)
        self._stamps = stamps

    def _list(self, kept: dict[str, Kept]) -> None:
        """Make a copy the last whole one."""
        assert self._there is not None
        for name, listed in ((PREVIOUS, self._kept), (LIST, kept)):
            aside = self._there / f".{name}.part"
            aside.write_text(Listing(listed).model_dump_json(), encoding="utf-8")
            aside.replace(self._there / name)
        needed = {copy.at for listed in (self._kept, kept) for copy in listed.values()}
        gone = {copy.at for copy in self._previous.values()} - needed
        self._kept, self._previous = kept, self._kept
        for at in gone:
            (self._there / at).unlink(missing_ok=True)

    def _listed(self, name: str) -> dict[str, Kept] | None:
        """What a list names; None if it is not there, or not all of it is."""
        assert self._there is not None
        try:
            kept = Listing.model_validate_json((self._there / name).read_bytes()).root
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            logger.warning("%s cannot be read.", self._there / name)
            return None
        missing = [n for n, copy in kept.items() if not _is_whole(self._there / copy.at, copy)]
        if missing:
            logger.warning("%s is not all there, such as %s.", self._there / name, missing[0])
            return None
        return kept

    def _free(self, name: str) -> str:
        """Path for a new copy of a file."""
        listed = (self._kept.get(name), self._previous.get(name))
        used = {copy.at for copy in listed if copy is not None}
        return next(at for place in PLACES if (at := f"{place}/{name}") not in used)

    def _files(self) -> Iterator[Path]:
        for folder, names, files in os.walk(self._data):
            names[:] = [name for name in names if self._is_copied(Path(folder, name))]
            for name in files:
                path = Path(folder, name)
                if not _UNFINISHED.fullmatch(name) and path.is_file():
                    yield path

    def _is_copied(self, folder: Path) -> bool:
        return folder != self._without and not _UNFINISHED.fullmatch(folder.name)


def copy_sound(path: Path, to: Path) -> None:
    """Copy a file from its beginning to its end; a SQLite database by SQLite, all committed rows.

    SQLite makes its copy beside this machine's temporary files: a mounted bucket allows no writes
    but at the end of a file, and no locks.
    """
    if not _is_database(path):
        shutil.copyfile(path, to)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        with (
            closing(sqlite3.connect(path, timeout=60)) as here,
            closing(sqlite3.connect(copy)) as there,
        ):
            here.backup(there)
        shutil.copyfile(copy, to)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _is_whole(path: Path, copy: Kept) -> bool:
    return path.is_file() and path.stat().st_size == copy.size


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
