"""The queue in the database: filled by pipelines, read by whoever gives opinions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    distinct,
    exists,
    func,
    or_,
    select,
)

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.photo_cleaning import CleanPhoto
from cannabis_ml.feedback.review_queue import Filled, QueueEntry, Source, WaitingPhoto
from cannabis_ml.feedback.submission import Answered
from cannabis_ml.feedback.taking import digest_of_erased, write_photo

_KEPT_FROM_BEFORE = ("rank", "kind", "reason", "blind", "suggestion")
"""Columns that a new list replaces; when the photo was put up stays."""


@dataclass(frozen=True)
class Found:
    """An entry and its photo.

    Attributes:
        entry: As the pipeline gave it.
        photo_id: Id in the store.
        clean: The photo, where the store lacks it and its file is written.
    """

    entry: QueueEntry
    photo_id: str
    clean: CleanPhoto | None


def is_erased(connection: Connection, *photo_ids: str) -> bool:
    """Whether one of these photos was erased: nobody puts it up again."""
    digests = [digest_of_erased(photo_id) for photo_id in photo_ids]
    stones = select(t.tombstones.c.kind).where(t.tombstones.c.digest.in_(digests))
    return connection.execute(stones).first() is not None


def fill(
    connection: Connection,
    database: Database,
    sources: Sequence[Source],
    found: Sequence[Found],
    now: datetime,
) -> Filled:
    """Replace what these sources had put up; photos that only they had brought go again.

    Args:
        connection: Of a transaction that writes.
        database: Of the store.
        sources: All of the list.
        found: Its entries, with photos.
        now: Time of it.
    """
    up: set[tuple[str, str]] = set()
    added = 0
    for one in sorted(found, key=lambda each: each.photo_id):
        place = (one.photo_id, one.entry.source)
        if place in up or not _is_there(connection, database, one, now):
            continue
        added += one.clean is not None
        up.add(place)
        suggestion = one.entry.suggestion
        row = one.entry.model_dump(include={"source", "rank", "kind", "reason", "blind"})
        row |= {"photo_id": one.photo_id, "at": now}
        row |= {"suggestion": None if suggestion is None else suggestion.model_dump_json()}
        connection.execute(database.replace(t.queue, _KEPT_FROM_BEFORE), row)
    before = select(t.queue.c.photo_id, t.queue.c.source).where(t.queue.c.source.in_(sources))
    for photo_id, source in connection.execute(before).all():
        if (photo_id, source) not in up:
            own = and_(t.queue.c.photo_id == photo_id, t.queue.c.source == source)
            connection.execute(delete(t.queue).where(own))
    _drop_unneeded(connection, database)
    return Filled(len({photo_id for photo_id, _ in up}), added, len(found) - len(up))


def add_photo(
    connection: Connection, database: Database, clean: CleanPhoto, sent: str, now: datetime
) -> bool:
    """Take in a photo that nobody sent; False if it was erased.

    Args:
        connection: Of a transaction that writes.
        database: Of the store.
        clean: The photo; its file is written.
        sent: SHA-256 of the file that it was.
        now: Time of it.
    """
    if is_erased(connection, clean.photo_id, sent):
        return False
    write_photo(connection, database, clean.photo_id, clean, now)
    row = {"photo_id": clean.photo_id, "sent_sha256": sent}
    connection.execute(database.insert(t.added_photos), row)
    return True


def _is_there(connection: Connection, database: Database, one: Found, now: datetime) -> bool:
    """Whether the store has the photo, or is given it now."""
    own = select(t.photos.c.kept).where(t.photos.c.photo_id == one.photo_id)
    if connection.execute(own.with_for_update(key_share=True)).scalar():
        return True
    clean = one.clean
    return clean is not None and add_photo(connection, database, clean, clean.sent_sha256, now)


def _drop_unneeded(connection: Connection, database: Database) -> None:
    """Drop photos that pipelines added, that are not up any more and that nobody dealt with."""
    p = t.photos.c
    in_use = [
        exists().where(table.c.photo_id == p.photo_id)
        for table in (t.queue, t.uploads, t.submissions, t.marks)
    ]
    is_added = exists().where(t.added_photos.c.photo_id == p.photo_id)
    unneeded = select(p.photo_id, p.suffix).where(is_added, *(~used for used in in_use))
    for row in connection.execute(unneeded).all():
        noted = {"photo_id": row.photo_id, "suffix": row.suffix}
        connection.execute(database.insert(t.removals), noted)
        for table in (t.added_photos, t.photos):
            connection.execute(delete(table).where(table.c.photo_id == row.photo_id))


def waiting(
    connection: Connection, person: str, enough: int, most: int
) -> tuple[int, list[WaitingPhoto]]:
    """How many photos wait for a person, and the first of them.

    Args:
        connection: Reads.
        person: Pseudonym; photos that the person has an opinion on are left out.
        enough: So many people's opinions let a photo leave: since it was put up; of blind ones
            those of people who had not seen the answer, whenever they came.
        most: Photos at a time.
    """
    q = t.queue.c
    query = (
        select(q.photo_id, q.source, q.kind, q.reason, q.blind)
        .join(t.photos)
        .where(t.photos.c.kept, ~_has_own(person), _others() < enough)
        .order_by(q.rank, q.source, q.photo_id)
    )
    rows: dict[str, Any] = {}
    for row in connection.execute(query):
        before = rows.setdefault(row.photo_id, row)
        if row.blind and not before.blind:  # its reason gives no answer away
            rows[row.photo_id] = row
    first = list(rows.values())[:most]
    suggested = _suggestions(connection, [row.photo_id for row in first])
    shown = [
        WaitingPhoto(
            row.photo_id, row.kind, row.reason, row.blind, suggested.get((row.photo_id, row.source))
        )
        for row in first
    ]
    return len(rows), shown


def is_up(connection: Connection, photo_id: str) -> bool:
    """Whether a photo is in the queue."""
    entry = select(t.queue.c.source).where(t.queue.c.photo_id == photo_id)
    return connection.execute(entry).first() is not None


def _suggestions(
    connection: Connection, photo_ids: Sequence[str]
) -> dict[tuple[str, str], Answered]:
    """What models answer for these photos, by photo and source; left out where nothing is known."""
    q = t.queue.c
    own = select(q.photo_id, q.source, q.suggestion)
    own = own.where(q.photo_id.in_(photo_ids), q.suggestion.is_not(None))
    return {
        (row.photo_id, row.source): Answered.model_validate_json(row.suggestion)
        for row in connection.execute(own)
    }


def _has_own(person: str) -> ColumnElement[bool]:
    return exists().where(
        t.opinions.c.photo_id == t.queue.c.photo_id,
        t.opinions.c.replaced == t.LATEST,
        t.opinions.c.person_id == t.people.c.id,
        t.people.c.pseudonym == person,
    )


def _others() -> ColumnElement[int]:
    """How many people's opinions there are that count for an entry."""
    o, s, q = t.opinions.c, t.submissions.c, t.queue.c
    is_blind = and_(q.blind, ~s.seen_answer)
    is_since = and_(~q.blind, s.received_at >= q.at)
    return (
        select(func.count(distinct(o.person_id)))
        .where(
            o.photo_id == q.photo_id,
            o.replaced == t.LATEST,
            o.verdict != "unsure",
            o.submission_id == s.id,
            s.annotator == "person",
            or_(is_blind, is_since),
        )
        .correlate(t.queue)
        .scalar_subquery()
    )
