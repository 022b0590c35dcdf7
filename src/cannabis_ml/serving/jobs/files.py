"""Photos of jobs, beside those of feedback, until they are answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cannabis_ml.feedback.photo_store import PhotoStore

FOLDER = "jobs"


class JobFiles:
    """Files `jobs/JOB/NUMBER.jpg` in the photo store of feedback.

    Args:
        photos: The store.
    """

    def __init__(self, photos: PhotoStore) -> None:
        self._fs: Any
        self._fs, self._root = photos.folder(FOLDER)

    def put(self, job: str, number: int, suffix: str, data: bytes) -> None:
        from cannabis_ml.feedback.photo_store import write_whole

        write_whole(self._fs, self._path(job, number, suffix), data)

    def get(self, job: str, number: int, suffix: str) -> bytes | None:
        """Its bytes; None if the file is gone."""
        try:
            data: bytes = self._fs.cat_file(self._path(job, number, suffix))
        except FileNotFoundError:
            return None
        return data

    def remove(self, job: str, number: int, suffix: str) -> None:
        """Remove a photo, if it is there."""
        try:
            self._fs.rm_file(self._path(job, number, suffix))
        except FileNotFoundError:
            return

    def remove_job(self, job: str) -> None:
        """Remove all that is left of a job."""
        self._fs.invalidate_cache()
        path = f"{self._root}/{job}"
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def older_than(self, seconds: float) -> list[str]:
        """Ids of jobs of which there are files, whose oldest file is older."""
        self._fs.invalidate_cache()
        if not self._fs.exists(self._root):
            return []
        found = set()
        now = time.time()
        for path in self._fs.find(self._root, withdirs=True):
            job = path.removeprefix(self._root).strip("/").partition("/")[0]
            try:
                age = now - self._fs.modified(path).timestamp()
            except (NotImplementedError, FileNotFoundError):
                continue
            if job and age > seconds:
                found.add(job)
        return sorted(found)

    def _path(self, job: str, number: int, suffix: str) -> str:
        return f"{self._root}/{job}/{number:05}{suffix}"
