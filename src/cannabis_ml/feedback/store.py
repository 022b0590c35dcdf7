"""The store of feedback: photos, what was answered, and what people think of it.

Writers and readers in any number of processes may use one store at a time; whoever reads for
training holds up nobody. What `add` has returned from is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback import erasure, marks, queue_rows, reading
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.erasure import Erased
from cannabis_ml.feedback.intake import Intake, Sent, or_refused
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.params import Retention, StoreLimits
from cannabis_ml.feedback.photo_store import PhotoStore
from cannabis_ml.feedback.queue_photos import find_entry, restore_files
from cannabis_ml.feedback.review_queue import Filled, QueueList, WaitingPhoto
from cannabis_ml.feedback.submission import Record, Submission
from cannabis_ml.feedback.taking import Receipt, find_photo
from cannabis_ml.feedback.withdrawal import Withdrawn, withdraw
from cannabis_ml.photos.fingerprint import photo_id as sha256_of

if TYPE_CHECKING:
    import pandas as pd

    from cannabis_ml.feedback.reading import Summary, Tombstones

CLOCK_ERROR = timedelta(days=1)
"""How far ahead a client's clock may be."""


class FeedbackStore:
    """Opens a store, making it where there is none.

    Args:
        url: `sqlite:///path/to/feedback.db` or `postgresql://user:password@host/name`.
        photos: Folder, or address that fsspec knows, of the photos; beside the database file where
            not given.
        photo_credentials: Options of the photos' file system.
        limits: What is taken in.
        clock: Gives the time of arrival, in UTC.

    Raises:
        FeedbackError: If it cannot be opened, or was written by a newer version.
    """

    def __init__(
        self,
        url: str,
        photos: str | None = None,
        *,
        photo_credentials: Mapping[str, Any] | None = None,
        limits: StoreLimits | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = Database(url)
        self.files = PhotoStore(photos or _beside(url), photo_credentials)
        self.limits = limits or StoreLimits()
        self.intake = Intake(self.database, self.files, self.limits)
        self.clock = clock

    def add(self, submission: Submission, photo: bytes | None = None) -> Receipt:
        """Take in what one person sent, whole or not at all.

        The same submission again, by its key, changes nothing; so does an opinion that repeats the
        same person's on the same photo, head and bundle. Another opinion of the same person
        replaces the former, which stays in the history.

        Args:
            submission: Checked by `read_submission`.
            photo: The file as sent; None where `submission.photo_id` names it. Its bytes are kept
                with the person's consent only.

        Returns:
            What is in the store when this returns.

        Raises:
            FeedbackRefusedError: If it cannot be taken, with reasons.
            FeedbackError: If the store cannot be written; the client may send it again.
        """
        return self.intake.add(self._sent(submission, photo))

    def add_all(
        self, items: Iterable[tuple[Submission, bytes | None]]
    ) -> list[Receipt | FeedbackRefusedError]:
        """Take in many in one transaction: faster than one by one, and as safe.

        What is refused costs no other. All are on disk when this returns; a process that is killed
        before has taken in none of them, or all.

        Args:
            items: As for `add`. They are in memory together with their photos: a few hundred.

        Returns:
            Of each what `add` returns or raises.

        Raises:
            FeedbackError: If the store cannot be written; all may be sent again.
        """
        return self.intake.add_all([or_refused(self._sent, *item) for item in items])

    def restore(self, record: Record, photo: bytes | None = None) -> Receipt:
        """Take in a record of an export, as it was taken in before: with its time and its key.

        An export may be older than an erasure here: a photo that was erased since does not return.

        Args:
            record: A submission and what the store added to it.
            photo: The exported file, where there is one.

        Returns:
            As `add`.

        Raises:
            FeedbackRefusedError: As `add`, and if the photo was erased.
        """
        return self.intake.add(self._sent_before(record, photo))

    def restore_all(
        self, items: Iterable[tuple[Record, bytes | None]]
    ) -> list[Receipt | FeedbackRefusedError]:
        """As `restore`, many in one transaction; see `add_all`."""
        return self.intake.add_all([or_refused(self._sent_before, *item) for item in items])

    def withdraw(self, person: str, key: str) -> Withdrawn:
        """Take back the opinions of one submission; the person's former ones count again.

        Twice is once. The answer and the photo that came with it stay, and its key stays used.

        Raises:
            UnknownSubmissionError: If the person sent nothing under this key.
        """
        now = self.clock()
        return self.database.write(lambda c: withdraw(c, person, key, now))

    def opinions(self, *, history: bool = False) -> pd.DataFrame:
        """The table of opinions, see `cannabis_ml.feedback.opinions.opinions_table`.

        Args:
            history: Also what the same person has replaced since; else one row per photo, person
                and head.

        Returns:
            In order of arrival.
        """
        with self.database.reading() as connection:
            return reading.opinions(connection, history=history)

    def answers(self) -> pd.DataFrame:
        """What was answered, a row per submission and head; see `columns.ANSWER_COLUMNS`."""
        with self.database.reading() as connection:
            return reading.answers(connection)

    def embeddings(self) -> pd.DataFrame:
        """Embeddings that answers came with; see `columns.EMBEDDING_COLUMNS`.

        Of each photo, bundle and tier the latest.
        """
        with self.database.reading() as connection:
            return reading.embeddings(connection)

    def photos(self) -> pd.DataFrame:
        """The photos, a row each; see `columns.PHOTO_COLUMNS`."""
        with self.database.reading() as connection:
            return reading.photos(connection, self.files)

    def summary(self) -> Summary:
        """Totals of all opinions that count."""
        with self.database.reading() as connection:
            return reading.summary(connection)

    def tombstones(self) -> Tombstones:
        """What was erased and must be dropped wherever it was copied to."""
        with self.database.reading() as connection:
            return reading.tombstones(connection)

    def photo(self, photo_id: str) -> bytes:
        """Bytes of a photo: JPEG or PNG without metadata.

        Raises:
            FeedbackError: If it is not in the store, or its bytes were not kept.
        """
        with self.database.reading() as connection:
            row = find_photo(connection, photo_id)
        if row is None or not row.kept:
            why = "is not in the store" if row is None else "was not kept: nobody consented"
            raise FeedbackError(f"Photo {photo_id[:64]} {why}.")
        return self.files.get(row.photo_id, row.suffix)

    def erase_person(self, person: str) -> Erased:
        """Delete all that came from one person: rows, files and what the database left of them.

        Photos that nobody else sent go with everybody's opinions on them. The pseudonym cannot be
        used again. `tombstones` lists what copies elsewhere must drop. Backups are not reached.

        Raises:
            UnknownPersonError: If there is no such person, and never was.
        """
        return self._erase(lambda c, now: erasure.erase_person(c, self.database, person, now))

    def erase_photo(self, photo_id: str) -> Erased:
        """Delete one photo with everybody's opinions on it, as `erase_person` does.

        Raises:
            FeedbackError: If it is not in the store.
        """
        return self._erase(lambda c, now: erasure.erase_photo(c, self.database, photo_id, now))

    def expire(self, retention: Retention) -> Erased:
        """Delete what is older than configured, and files that a killed process left."""

        def change(connection: Connection, now: datetime) -> Erased:
            erased = erasure.expire(connection, self.database, retention, now)
            erasure.note_orphans(connection, self.database, self.files)
            return erased

        return self._erase(change)

    def mark_audit(self, photo_ids: Iterable[str], probability: float) -> None:
        """Mark photos as drawn uniformly to measure accuracy.

        Args:
            photo_ids: Of photos in the store; those that are marked already stay as they are.
            probability: With which each was drawn, in (0, 1].

        Raises:
            FeedbackError: If one is not in the store.
        """
        if not 0 < probability <= 1:
            raise ValueError(f"the probability {probability} is not in (0, 1]")
        now = self.clock()
        self.database.write(
            lambda c: marks.mark(c, self.database, marks.audits(photo_ids, probability, now))
        )

    def draw_audits(self, rates: Mapping[str, float], drawn: Mapping[str, str]) -> int:
        """Mark photos that were drawn for audit, week by week.

        The first draw of a week fixes its rate, so that every photo has one chance to be drawn.

        Args:
            rates: By week (ISO date of its Monday): probability with which its photos were drawn.
            drawn: Week of each photo that was drawn. What was erased meanwhile is left out, and so
                are photos of a week whose rate somebody else fixed otherwise.

        Returns:
            How many photos are marked now that were not before.
        """
        now = self.clock()
        return self.database.write(lambda c: marks.draw_audits(c, self.database, rates, drawn, now))

    def audit_rates(self) -> dict[str, float]:
        """Probability with which photos of a week are drawn for audit.

        By ISO date of its Monday; weeks that were never drawn from are left out.
        """
        with self.database.reading() as connection:
            return reading.audit_rates(connection)

    def mark_gold(self, labels: Mapping[tuple[str, str], Label]) -> None:
        """Set labels that are known, of photos by which people are measured.

        Args:
            labels: By id of the photo and head; a label set before is replaced.

        Raises:
            FeedbackError: If a photo is not in the store.
        """
        now = self.clock()
        self.database.write(lambda c: marks.mark(c, self.database, marks.golds(labels, now)))

    def gold(self) -> pd.DataFrame:
        """The known labels: `photo_id`, `head` and `label` (object), a row each."""
        with self.database.reading() as connection:
            return marks.gold(connection)

    def fill_queue(self, given: QueueList) -> Filled:
        """Put photos up for review, in place of all that the same sources had put up before.

        Photos that the store lacks are taken in, cleaned as those of people are; those that only
        the queue had brought go when they are not up any more and nobody gave an opinion. What was
        erased is not put up again.
        """
        now = self.clock()
        entries = [one for entry in given.entries if (one := find_entry(self, entry)) is not None]
        filled = self.database.write(
            lambda c: queue_rows.fill(c, self.database, given.sources, entries, now)
        )
        erasure.remove_files(self.database, self.files)
        restore_files(self, entries)
        left_out = len(given.entries) - len(entries) + filled.left_out
        return replace(filled, left_out=left_out)

    def waiting(self, person: str, enough: int, most: int) -> tuple[int, list[WaitingPhoto]]:
        """See `queue_rows.waiting`."""
        with self.database.reading() as connection:
            return queue_rows.waiting(connection, person, enough, most)

    def queued_photo(self, photo_id: str) -> bytes | None:
        """Bytes of a photo that is up for review; None if it is not."""
        with self.database.reading() as connection:
            row = find_photo(connection, photo_id)
            if row is None or not row.kept or not queue_rows.is_up(connection, row.photo_id):
                return None
        return self.files.get(row.photo_id, row.suffix)

    def close(self) -> None:
        """Close the connections; the store opens them again when it is used."""
        self.database.close()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _erase(self, change: Callable[[Connection, datetime], Erased]) -> Erased:
        now = self.clock()
        erased = self.database.write(lambda connection: change(connection, now))
        erasure.remove_files(self.database, self.files)
        self.database.scrub()
        return erased

    def _sent(self, submission: Submission, photo: bytes | None) -> Sent:
        if (photo is None) == (submission.photo_id is None):
            raise FeedbackRefusedError("photo: send either the photo or the photo_id of one")
        now = self.clock()
        if submission.at > now + CLOCK_ERROR:
            raise FeedbackRefusedError(f"at: is in the future; here it is {now:%Y-%m-%d %H:%M} UTC")
        sent = submission.photo_id if photo is None else sha256_of(photo)
        digest = submission.digest(sent if photo is not None else None)
        return Sent(submission, photo, sent or "", digest, now)

    def _sent_before(self, record: Record, photo: bytes | None) -> Sent:
        if photo is not None:
            with self.database.looking_up() as connection:
                if queue_rows.is_erased(connection, sha256_of(photo)):
                    raise FeedbackRefusedError(
                        "photo: was erased here; its sender may send it anew"
                    )
        sent = record.sent_sha256 or (sha256_of(photo) if photo else record.submission.photo_id)
        at = min(record.received_at, self.clock())
        return Sent(record.submission, photo, sent or "", record.digest, at)


def _beside(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise FeedbackError(
            "With PostgreSQL the place of the photos must be given: a folder, or an address such as"
            " s3://…."
        )
    return str(Path(parsed.database).absolute().parent / "photos")
