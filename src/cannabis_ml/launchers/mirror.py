"""A folder of data kept twice: on a disk to work on, and in a bucket that survives the machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

COPY_SECONDS = float(os.environ.get("CANNABIS_ML_MIRROR_SECONDS", "60"))
"""Between two copies while the job runs: what a preemption can cost besides the resumed steps."""

LIST = "mirrored.json"
"""Names the files of the last whole copy: what is only half there is not restored."""

_UNFINISHED = re.compile(r"\..*\.(part|old)|.*-(journal|wal|shm)")


class Mirror:
    """Copies changed files of `data` to `there`, and back where `data` is new.

    Files are compared by size and time. SQLite databases are copied by SQLite, so that the copy is
    sound while they are written.

    Args:
        data: Folder to work on.
        there: Folder that survives; nothing is done if it is None or empty.
        without: Folder below `data` that is not copied: it is brought to each attempt.
    """

    def __init__(self, data: Path, there: str | None, without: str | None = None) -> None:
        self._data, self._there = data, Path(there) if there else None
        self._without = data / without if without else None
        self._copied: dict[str, tuple[int, int]] = {}
        self._last = time.monotonic()

    def restore(self) -> None:
        """Bring back what the last whole copy had, unless it is here."""
        if self._there is None or not (self._there / LIST).is_file():
            return
        for name in json.loads((self._there / LIST).read_text("utf-8")):
            here = self._data / name
            if not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                aside = here.with_name(f".{here.name}.restored.part")
                shutil.copy2(self._there / name, aside)
                aside.replace(here)
            self._copied[name] = _stamp(here)

    def copy_sometimes(self) -> None:
        """Copy, if the last time is long enough ago."""
        if time.monotonic() - self._last >= COPY_SECONDS:
            self.copy()

    def copy(self) -> None:
        """Copy what has changed, remove what is gone, and then write the list."""
        if self._there is None:
            return
        stamps = {path.relative_to(self._data).as_posix(): _stamp(path) for path in self._files()}
        for name, stamp in stamps.items():
            if self._copied.get(name) != stamp:
                to = self._there / name
                to.parent.mkdir(parents=True, exist_ok=True)
                aside = to.with_name(f".{to.name}.part")
                try:
                    copy_sound(self._data / name, aside)
                except FileNotFoundError:  # gone since
                    continue
                aside.replace(to)
                self._copied[name] = stamp
        gone = set(self._copied) - set(stamps)
        self._copied = {name: stamp for name, stamp in self._copied.items() if name in stamps}
        aside = self._there / f".{LIST}.part"
        aside.write_text(json.dumps(sorted(self._copied)), encoding="utf-8")
        aside.replace(self._there / LIST)
        for name in gone:
            (self._there / name).unlink(missing_ok=True)
        self._last = time.monotonic()

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
    with path.open("rb") as file:
        is_database = file.read(16) == b"SQLite format 3\0"
    if not is_database:
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


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
