"""A local folder and one of another file system that follow each other."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path

from cannabis_ml._io.remote import RemotePath, written
from cannabis_ml.errors import StorageError

logger = logging.getLogger(__name__)

Signature = tuple[int, int, int]
"""Inode, bytes and time of a file; a file that was replaced has another."""

SNAPSHOTS = 20
"""How often the files are looked at again while others change them."""


class SyncedFolder:
    """A local copy of a folder of another file system.

    Its files are replaced, never changed in place (`written_aside`), so that what is uploaded is
    whole. Files go in the order in which they were written: what one refers to is there before it.

    Args:
        remote: The folder.
        local: Its copy; what is in it and not in `remote` is removed by `pull`.
    """

    def __init__(self, remote: RemotePath, local: Path) -> None:
        self.remote, self.local = remote, local
        self._known: dict[str, Signature] = {}
        self._lock = threading.Lock()

    def pull(self) -> None:
        """Make the local folder what the other is; brings only what differs."""
        self.local.mkdir(parents=True, exist_ok=True)
        there = self.remote.files()
        self._known = {}
        for name, entry in there.items():
            local = self.local / name
            when = written(entry)
            if not _is_copy(local, int(entry["size"]), when):
                (self.remote / name).download(local)
                os.utime(local, (when, when))
            self._known[name] = _signature(local)
        for path in self._files():
            if path not in self._known:
                (self.local / path).unlink(missing_ok=True)
        self._date_folders()

    def push(self) -> None:
        """Make the other folder what the local one is; uploads only what changed."""
        with self._lock, self._snapshot() as (folder, now):
            changed = [
                name for name, signature in now.items() if signature != self._known.get(name)
            ]
            for name in sorted(changed, key=lambda name: now[name][2]):
                copy, remote = folder / name, self.remote / name
                remote.upload(copy)
                when = remote.written_at()
                os.utime(copy, (when, when))  # of the same inode: the next `pull` finds it the same
                self._known[name] = _signature(copy)
            for name in self._known.keys() - now.keys():
                (self.remote / name).remove()
                del self._known[name]

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Path, Mapping[str, Signature]]]:
        """The files as they are at one moment, under second names that stay what they are."""
        for _ in range(SNAPSHOTS):
            with tempfile.TemporaryDirectory(dir=self.local, prefix=".snapshot-") as folder:
                before = self._files()
                try:
                    for name in before:
                        (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                        _link(self.local / name, Path(folder) / name)
                except FileNotFoundError:
                    continue
                if self._files() == before:
                    yield Path(folder), before
                    return
        raise StorageError(
            f"{self.local} changes faster than it can be uploaded to {self.remote}; it is tried"
            " again later."
        )

    def _files(self) -> dict[str, Signature]:
        found = {}
        for path in self.local.rglob("*"):
            name = path.relative_to(self.local)
            if any(part.startswith(".") for part in name.parts):  # unfinished, or ours
                continue
            try:
                if path.is_file():
                    found[name.as_posix()] = _signature(path)
            except FileNotFoundError:
                continue
        return found

    def _date_folders(self) -> None:
        """A folder is as old as the newest file below: which training is newest is read off it."""
        newest: dict[Path, float] = {}
        for name in self._known:
            path = self.local / name
            for folder in path.relative_to(self.local).parents:
                when = path.stat().st_mtime
                newest[folder] = max(when, newest.get(folder, when))
        for folder, when in newest.items():
            os.utime(self.local / folder, (when, when))


class Follower:
    """Uploads what changes in a folder, until the process ends, and then once more.

    Args:
        folder: What is uploaded.
        seconds: Between two looks.
    """

    def __init__(self, folder: SyncedFolder, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
        self._thread.start()
        # Before copies that end with the process do; processes that multiprocessing started have
        # an end of their own.
        self._finalize = Finalize(None, self._end, exitpriority=10)
        atexit.register(self._finalize)

    def stop(self) -> None:
        """Upload what is left, and follow no more."""
        atexit.unregister(self._finalize)
        self._finalize()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._push()

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._push()

    def _push(self) -> None:
        try:
            self._folder.push()
        except Exception as error:  # it saves time and decides no result; the next look tries again
            logger.warning("%s could not be uploaded: %s", self._folder.local, error)


def _is_copy(path: Path, size: int, when: float) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    return found.st_size == size and abs(found.st_mtime - when) < 1e-3


def _signature(path: Path) -> Signature:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
