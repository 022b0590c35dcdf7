"""Jobs as the routes use them: made, asked for, deleted."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from cannabis_ml.photos.unreadable import UnreadableError
from cannabis_ml.serving.jobs.files import JobFiles
from cannabis_ml.serving.jobs.records import JobContent, NewPhoto
from cannabis_ml.serving.jobs.schemas import JobStatus
from cannabis_ml.serving.jobs.settings import JobSettings
from cannabis_ml.serving.jobs.unpacking import Sent, too_many
from cannabis_ml.serving.places import Places
from cannabis_ml.serving.problems import ServiceError

if TYPE_CHECKING:
    from cannabis_ml.feedback.store import FeedbackStore


class LeftError(Exception):
    """The client left, or its time was up, while its photos were stored."""


class JobBoard:
    """Makes jobs, gives their status, deletes them. Its methods but `__init__` work in threads.

    Args:
        store: Of feedback, whose database and photo store hold the jobs.
        settings: Limits.
        photo_pixels: Width x height above which a photo is refused.
    """

    def __init__(self, store: FeedbackStore, settings: JobSettings, photo_pixels: int) -> None:
        from cannabis_ml.serving.jobs.store import JobStore

        self.store = JobStore(store)
        self.files = JobFiles(store.files)
        self.settings = settings
        self._pixels = photo_pixels
        self.uploads = Places(settings.uploads, "jobs are being sent")
        self.streams = Places(settings.streams, "results are being followed")

    def check_room(self) -> None:
        """Refuse a job while too many photos are waiting.

        Raises:
            ServiceError: 503.
        """
        waiting = self.store.waiting()
        if waiting >= self.settings.waiting_photos:
            raise ServiceError(
                503,
                f"{waiting:,} photos of jobs are waiting; try again later.",
                {"retry-after": "60"},
            )

    def make(
        self, sent: Iterable[Sent], owner: str, language: str, left: threading.Event
    ) -> JobStatus:
        """Store photos, then the job.

        Args:
            sent: One at a time.
            owner: Who may ask for the job.
            language: Of reports.
            left: Set when nobody waits for the job any more.

        Raises:
            ServiceError: As `sent` does; 413 for too many photos, 422 for none.
            LeftError: If `left` was set.
            FeedbackError: If the store fails.
        """
        job = secrets.token_hex(16)
        made: list[NewPhoto] = []
        try:
            for one in sent:
                if left.is_set():
                    raise LeftError
                if len(made) >= self.settings.photos:
                    raise too_many(self.settings.photos)
                made.append(self._stored(job, len(made), one))
            if left.is_set():
                raise LeftError
            if not made:
                raise ServiceError(422, "There is no photo in the job.")
            keep = timedelta(hours=self.settings.keep_hours)
            self.store.add(job, owner, language, made, keep)
        except BaseException:
            self.files.remove_job(job)
            raise
        return self.status(job, owner)

    def status(self, job: str, owner: str) -> JobStatus:
        """How far a job is.

        Raises:
            ServiceError: 404 if there is none of this id, or it is another's.
        """
        row = self.store.find(job, owner)
        if row is None:
            raise ServiceError(404, "There is no such job; it may have expired.")
        state = "done" if row.done >= row.photos else "running" if row.done else "waiting"
        return JobStatus.model_validate({**row._mapping, "state": state})

    def delete(self, job: str, owner: str) -> None:
        """End a job and delete its photos and results.

        Raises:
            ServiceError: 404 as `status`.
        """
        self.status(job, owner)
        self.store.delete(job)
        self.files.remove_job(job)

    def sweep(self) -> None:
        """Delete what has expired, and files that a killed process left."""
        for job in self.store.expire():
            self.files.remove_job(job)
        old = self.files.older_than(2 * self.settings.upload_seconds)
        for job in set(old) - self.store.known(old):
            self.files.remove_job(job)

    def _stored(self, job: str, number: int, sent: Sent) -> NewPhoto:
        from cannabis_ml.feedback.photo_cleaning import strip_photo

        problem = sent.problem
        if sent.data is not None and problem is None:
            try:
                data, suffix = strip_photo(sent.data, max_pixels=self._pixels)
            except UnreadableError as error:
                problem = str(error)
            else:
                self.files.put(job, number, suffix, data)
                return NewPhoto(sent.name, suffix)
        content = JobContent(problem=problem)
        return NewPhoto(sent.name, None, content.model_dump_json())
