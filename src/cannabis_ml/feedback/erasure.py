"""What leaves the store: a person, a photo, or what is older than it may be.

Rows go in one transaction, and with it each photo's file is noted as still to go; so a process that
is killed between the two leaves a note, which the next erasure works off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, select, update

from cannabis_ml.errors import FeedbackError, UnknownPersonError
from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.params import Retention
from cannabis_ml.feedback.photo_store import PhotoStore
from cannabis_ml.feedback.taking import digest_of_erased
from cannabis_ml.feedback.withdrawal import count_former

ORPHAN_AGE_S = 3600
"""A file without a row may be one whose row is being written; not after this time."""


@dataclass(frozen=True)
class Erased:
    """How much is gone.

    Attributes:
        opinions: Rows, those of the history among them.
        submissions: Rows.
        photos: Photos whose files or, if they were not kept, ids are gone.
    """

    opinions: int = 0
    submissions: int = 0
    photos: int = 0

    def __add__(self, other: Erased) -> Erased:
        return Erased(
            self.opinions + other.opinions,
            self.submissions + other.submissions,
            self.photos + other.photos,
        )


def erase_person(connection: Connection, database: Database, person: str, now: datetime) -> Erased:
    """Delete all that came from one person.

    Photos that nobody else sent go with everybody's opinions on them; of photos that others sent
    too, the file goes if none of these consented. The pseudonym cannot be used again.

    Raises:
        UnknownPersonError: If there is no such person, and never was.
    """
    own = select(t.people.c.id).where(t.people.c.pseudonym == person)
    person_id = connection.execute(own.with_for_update()).scalar()
    tombstone = digest_of_erased(person)
    if person_id is None:
        known = select(t.tombstones.c.kind).where(t.tombstones.c.digest == tombstone)
        if connection.execute(known).first():
            return Erased()
        raise UnknownPersonError(f"There is no person '{person[:128]}' in the store.")
    sent = select(t.uploads.c.photo_id).where(t.uploads.c.person_id == person_id)
    photo_ids = list(connection.execute(sent.distinct()).scalars())
    erased = _delete_submissions(connection, t.submissions.c.person_id == person_id)
    connection.execute(delete(t.uploads).where(t.uploads.c.person_id == person_id))
    connection.execute(delete(t.people).where(t.people.c.id == person_id))
    _bury(connection, database, tombstone, "person", now)
    for photo_id in photo_ids:
        erased += _drop_photo(connection, database, photo_id, now)
    return erased


def erase_photo(connection: Connection, database: Database, photo_id: str, now: datetime) -> Erased:
    """Delete a photo with everybody's opinions on it.

    Raises:
        FeedbackError: If it is not in the store.
    """
    photo = select(t.photos.c.photo_id).where(t.photos.c.photo_id == photo_id)
    if connection.execute(photo).first() is None:
        raise FeedbackError(f"Photo {photo_id[:64]} is not in the store.")
    for table in (t.uploads, t.added_photos):
        connection.execute(delete(table).where(table.c.photo_id == photo_id))
    return _drop_photo(connection, database, photo_id, now)


def expire(
    connection: Connection, database: Database, retention: Retention, now: datetime
) -> Erased:
    """Delete what is older than configured."""
    erased = Erased()
    if retention.photos_days is not None:
        before = now - timedelta(days=retention.photos_days)
        old = select(t.photos.c.photo_id).where(t.photos.c.received_at < before)
        for photo_id in list(connection.execute(old).scalars()):
            erased += erase_photo(connection, database, photo_id, now)
    if retention.opinions_days is not None:
        before = now - timedelta(days=retention.opinions_days)
        erased += _expire_opinions(connection, before)
    if retention.details_days is not None:
        before = now - timedelta(days=retention.details_days)
        details: dict[str, Any] = {"device": None, "region": None, "metadata": None}
        old_ones = t.submissions.c.received_at < before
        connection.execute(update(t.submissions).where(old_ones).values(**details))
    _delete_absent_people(connection)
    return erased


def note_orphans(connection: Connection, database: Database, files: PhotoStore) -> None:
    """Note files that a killed process left without a row."""
    kept = select(t.photos.c.photo_id).where(t.photos.c.kept)
    known = set(connection.execute(kept).scalars())
    for photo_id, suffix, age in files:
        if age < ORPHAN_AGE_S:
            continue
        if suffix.endswith(".part"):
            files.remove(photo_id, suffix)
        elif photo_id not in known:
            _note_removal(connection, database, photo_id, suffix)


def remove_files(database: Database, files: PhotoStore) -> int:
    """Remove the files whose rows are gone; returns how many."""
    with database.reading() as connection:
        noted = [(row.photo_id, row.suffix) for row in connection.execute(select(t.removals))]
    return sum(_remove_file(database, files, *each) for each in noted)


def _remove_file(database: Database, files: PhotoStore, photo_id: str, suffix: str) -> bool:
    def remove(connection: Connection) -> bool:
        database.lock_photo(connection, photo_id)
        connection.execute(delete(t.removals).where(t.removals.c.photo_id == photo_id))
        kept = select(t.photos.c.kept).where(t.photos.c.photo_id == photo_id)
        if connection.execute(kept).scalar():
            return False  # it was sent again meanwhile
        files.remove(photo_id, suffix)
        return True

    return database.write(remove)


def _delete_submissions(connection: Connection, which: ColumnElement[bool]) -> Erased:
    ids = select(t.submissions.c.id).where(which)
    opinions = connection.execute(delete(t.opinions).where(t.opinions.c.submission_id.in_(ids)))
    submissions = connection.execute(delete(t.submissions).where(which))
    return Erased(opinions.rowcount, submissions.rowcount)


def _expire_opinions(connection: Connection, before: datetime) -> Erased:
    """Delete submissions that came before; an opinion that repeated one of theirs counts now."""
    is_old = t.submissions.c.received_at < before
    old = select(t.submissions.c.id).where(is_old)
    o, going = t.opinions.c, t.opinions.alias()
    loses_another = exists().where(
        going.c.photo_id == o.photo_id,
        going.c.person_id == o.person_id,
        going.c.head == o.head,
        going.c.submission_id.in_(old),
    )
    left = (
        select(o.photo_id, o.person_id, o.head).distinct().order_by(o.photo_id, o.person_id, o.head)
    )
    left = left.where(o.submission_id.not_in(old), loses_another)
    places = connection.execute(left).all()
    erased = _delete_submissions(connection, is_old)
    for place in places:
        count_former(connection, *place)
    return erased


def _drop_photo(connection: Connection, database: Database, photo_id: str, now: datetime) -> Erased:
    """Delete a photo that nobody sent, and the file of one that nobody wants kept.

    What pipelines took from a photo set is not the person's to erase there: it stays.
    """
    row = connection.execute(select(t.photos).where(t.photos.c.photo_id == photo_id)).one()
    consents = select(t.uploads.c.consent).where(t.uploads.c.photo_id == photo_id)
    sent = list(connection.execute(consents).scalars())
    added = select(t.added_photos).where(t.added_photos.c.photo_id == photo_id)
    if any(sent) or connection.execute(added).first():
        return Erased()
    connection.execute(delete(t.queue).where(t.queue.c.photo_id == photo_id))
    if row.kept:
        _note_removal(connection, database, photo_id, row.suffix)
    _bury(connection, database, digest_of_erased(photo_id), "photo", now)
    if sent:
        values = {"kept": False, "suffix": None, "bytes": None, "width": None, "height": None}
        own = update(t.photos).where(t.photos.c.photo_id == photo_id)
        connection.execute(own.values(**values))
        shown = update(t.submissions).where(t.submissions.c.photo_id == photo_id)
        connection.execute(shown.values(embedding=None))  # it shows what the photo looked like
        return Erased(photos=int(row.kept))
    erased = _delete_submissions(connection, t.submissions.c.photo_id == photo_id)
    connection.execute(delete(t.marks).where(t.marks.c.photo_id == photo_id))
    connection.execute(delete(t.photos).where(t.photos.c.photo_id == photo_id))
    return erased + Erased(photos=1)


def _note_removal(connection: Connection, database: Database, photo_id: str, suffix: str) -> None:
    connection.execute(database.insert(t.removals), {"photo_id": photo_id, "suffix": suffix})


def _bury(
    connection: Connection, database: Database, digest: str, kind: str, now: datetime
) -> None:
    row = {"digest": digest, "kind": kind, "at": now}
    connection.execute(database.insert(t.tombstones), row)


def _delete_absent_people(connection: Connection) -> None:
    """Forget pseudonyms of which nothing is left."""
    is_in_use = [
        exists().where(table.c.person_id == t.people.c.id)
        for table in (t.uploads, t.submissions, t.opinions)
    ]
    connection.execute(delete(t.people).where(*(~used for used in is_in_use)))
