"""Taking in what clients send, one by one or many in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.params import StoreLimits
from cannabis_ml.feedback.photo_cleaning import clean_photo
from cannabis_ml.feedback.photo_store import PhotoStore
from cannabis_ml.feedback.submission import Submission
from cannabis_ml.feedback.taking import (
    Arrived,
    PhotoGoneError,
    Receipt,
    earlier_receipt,
    find_photo,
    take,
)

_TRIES = 5

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sent:
    """A submission with its photo.

    Attributes:
        submission: Checked.
        photo: The file as sent; None where the submission names it.
        sha256: Hash of the photo, or its id where it is named.
        digest: Hash of all that was sent.
        at: When it came.
    """

    submission: Submission
    photo: bytes | None
    sha256: str
    digest: str
    at: datetime


class Intake:
    """Writes submissions and their photos.

    Args:
        database: Of the store.
        files: Of the store.
        limits: What is taken in.
    """

    def __init__(self, database: Database, files: PhotoStore, limits: StoreLimits) -> None:
        self._database, self._files, self._limits = database, files, limits

    def add(self, sent: Sent) -> Receipt:
        """See `FeedbackStore.add`."""
        for _ in range(_TRIES):
            with self._database.looking_up() as connection:
                known = _look_up(connection, sent)
            if isinstance(known, Receipt):
                return known
            arrived = self._ready(sent, known)
            try:
                (receipt,) = self._take([arrived])
            except PhotoGoneError:  # erased between looking for it and writing
                continue
            return receipt
        raise FeedbackError("The photo was erased each time that it was sent; send it again later.")

    def add_all(
        self, sent: Sequence[Sent | FeedbackRefusedError]
    ) -> list[Receipt | FeedbackRefusedError]:
        """See `FeedbackStore.add_all`; what is refused already stays so."""
        outcomes: dict[int, Receipt | FeedbackRefusedError] = {}
        ready: dict[int, tuple[Sent, Arrived]] = {}
        with self._database.looking_up() as connection:
            known = {
                i: or_refused(_look_up, connection, one)
                for i, one in enumerate(sent)
                if isinstance(one, Sent)
            }
        for i, one in enumerate(sent):
            if isinstance(one, FeedbackRefusedError):
                outcomes[i] = one
                continue
            row = known[i]
            if isinstance(row, Receipt | FeedbackRefusedError):
                outcomes[i] = row
                continue
            arrived = or_refused(self._ready, one, row)
            if isinstance(arrived, Arrived):
                ready[i] = (one, arrived)
            else:
                outcomes[i] = arrived
        # In one order whoever sends them: so no two writers wait for each other in a circle.
        ready = dict(sorted(ready.items(), key=lambda item: item[1][1].photo_id))
        try:
            receipts = self._take([arrived for _, arrived in ready.values()])
            outcomes |= zip(ready, receipts, strict=True)
        except (PhotoGoneError, FeedbackRefusedError):  # one of them: the others are not to suffer
            outcomes |= {i: or_refused(self.add, one) for i, (one, _) in ready.items()}
        return [outcomes[i] for i in range(len(sent))]

    def _take(self, arrived: Sequence[Arrived]) -> list[Receipt]:
        """Write them in one transaction."""

        def change(connection: Connection) -> list[Receipt]:
            return [take(connection, self._database, one) for one in arrived]

        receipts = self._database.write(change) if arrived else []
        for clean in (one.clean for one in arrived):
            if clean is not None and not self._files.holds(clean.photo_id, clean.suffix):
                self._files.put(clean)  # another person's erasure removed it meanwhile
        return receipts

    def _ready(self, sent: Sent, row: Row[Any] | None) -> Arrived:
        """Clean a new photo and write its file.

        The file goes first: a row without its file would be a loss, a file without a row is swept
        up.
        """
        submission, clean = sent.submission, None
        if sent.photo is not None and (row is None or (submission.consent and not row.kept)):
            clean = clean_photo(
                sent.photo,
                max_bytes=self._limits.photo_bytes,
                max_pixels=self._limits.photo_pixels,
            )
        kept = clean if submission.consent else None
        photo_id = clean.photo_id if clean else (row.photo_id if row else sent.sha256)
        if kept is not None:
            self._files.put(kept)
        return Arrived(submission, sent.digest, photo_id, sent.sha256, kept, sent.at)


def or_refused(
    function: Callable[..., Result], *arguments: object
) -> Result | FeedbackRefusedError:
    """What a function returns, or with which reasons it refuses."""
    try:
        return function(*arguments)
    except FeedbackRefusedError as error:
        return error


def _look_up(connection: Connection, sent: Sent) -> Receipt | Row[Any] | None:
    """The receipt of a submission that is there, or else the row of its photo where that is."""
    before = earlier_receipt(connection, sent.submission, sent.digest)
    return before or find_photo(connection, sent.sha256)
