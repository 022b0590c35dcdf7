"""How a submission becomes rows: one transaction, for one person at a time.

Every transaction first locks the person's row, so that what one person sends at once in several
requests is taken in one after the other; people do not wait for each other (on SQLite they do, for
a millisecond: it has one lock).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, or_, select, update

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.photo_cleaning import CleanPhoto
from cannabis_ml.feedback.repeated import GivenOpinion, in_order
from cannabis_ml.feedback.submission import HeadOpinion, Submission


@dataclass(frozen=True)
class Receipt:
    """What became of a submission.

    Attributes:
        photo_id: Id of its photo in the store.
        taken: Opinions that are new.
        repeated: Opinions that the same person had given before: they count once.
        is_retry: Whether the same submission, by its key, had been taken in before.
    """

    photo_id: str
    taken: int
    repeated: int
    is_retry: bool = False


@dataclass(frozen=True)
class Arrived:
    """A checked submission and what is known of its photo.

    Attributes:
        submission: As the client sent it.
        digest: Hash of all that was sent.
        photo_id: Id in the store.
        sent_sha256: Hash of the photo as it was sent or named.
        clean: The photo, where it is to be kept and is not yet.
        at: Time of arrival.
    """

    submission: Submission
    digest: str
    photo_id: str
    sent_sha256: str
    clean: CleanPhoto | None
    at: datetime


class PhotoGoneError(Exception):
    """The photo that the store knew a moment ago was erased meanwhile."""


_FIND_PERSON = select(t.people.c.id).where(t.people.c.pseudonym == bindparam("pseudonym"))
_LOCK_PERSON = _FIND_PERSON.with_for_update()
_FIND_SUBMISSION = (
    select(t.submissions.c.digest, t.submissions.c.photo_id)
    .join(t.people)
    .where(t.people.c.pseudonym == bindparam("pseudonym"), t.submissions.c.key == bindparam("key"))
)
_FIND_PHOTO = select(t.photos).where(t.photos.c.photo_id == bindparam("photo_id"))
_SENT_AS = (
    select(t.uploads.c.photo_id)
    .where(t.uploads.c.sent_sha256 == bindparam("sent"))
    .union_all(
        select(t.added_photos.c.photo_id).where(t.added_photos.c.sent_sha256 == bindparam("sent"))
    )
)
_FIND_SENT = (
    select(t.photos)
    .where(or_(t.photos.c.photo_id == bindparam("sent"), t.photos.c.photo_id.in_(_SENT_AS)))
    .order_by(t.photos.c.photo_id != bindparam("sent"))
    .limit(1)
)
_HISTORY = (
    select(t.opinions, t.submissions.c.bundle_id)
    .join(t.submissions)
    .where(
        t.opinions.c.photo_id == bindparam("photo_id"),
        t.opinions.c.person_id == bindparam("person_id"),
        t.opinions.c.head.in_(bindparam("heads", expanding=True)),
    )
    .order_by(t.opinions.c.at, t.opinions.c.id)
)
_REPLACE = (
    update(t.opinions)
    .where(t.opinions.c.id == bindparam("changed"))
    .values(replaced=bindparam("replaced_now"))
)
_INSERT_OPINIONS = t.opinions.insert()


def digest_of_erased(name: str) -> str:
    """What a tombstone holds of an id or pseudonym: nothing by which it could be searched for."""
    return hashlib.sha256(b"erased\0" + name.encode()).hexdigest()


def opinion_id_of(person: str, key: str, head: str) -> str:
    """Id of an opinion, 32 hex digits; it does not show the person."""
    return hashlib.sha256("\0".join((person, key, head)).encode()).hexdigest()[:32]


def earlier_receipt(connection: Connection, submission: Submission, digest: str) -> Receipt | None:
    """The receipt of a submission that was taken in before; None if it was not.

    Raises:
        FeedbackRefusedError: If the person used the key for something else.
    """
    names = {"pseudonym": submission.person, "key": submission.key}
    row = connection.execute(_FIND_SUBMISSION, names).first()
    if row is None:
        return None
    if row.digest != digest:
        raise FeedbackRefusedError(
            "key: was used for another submission; every new one needs a key of its own"
        )
    return Receipt(row.photo_id, 0, len(submission.opinions), is_retry=True)


def find_photo(connection: Connection, sha256: str) -> Row[Any] | None:
    """The row of a photo by its id, or by the hash of the bytes that were sent or put up."""
    return connection.execute(_FIND_SENT, {"sent": sha256}).first()


def take(connection: Connection, database: Database, arrived: Arrived) -> Receipt:
    """Write one submission.

    Raises:
        FeedbackRefusedError: If the person was erased, or used the key for something else.
        PhotoGoneError: If its photo is not there any more.
    """
    submission = arrived.submission
    person_id = _locked_person(connection, database, arrived)
    _take_photo(connection, database, arrived, person_id)
    insert = database.insert_numbered(t.submissions)
    submission_id = connection.execute(insert, _row(arrived, person_id)).scalar()
    if submission_id is None:
        before = earlier_receipt(connection, submission, arrived.digest)
        assert before is not None
        return before
    taken = (
        _take_opinions(connection, arrived, person_id, submission_id) if submission.opinions else 0
    )
    return Receipt(arrived.photo_id, taken, len(submission.opinions) - taken)


def _locked_person(connection: Connection, database: Database, arrived: Arrived) -> int:
    name = {"pseudonym": arrived.submission.person}
    person_id = connection.execute(_LOCK_PERSON, name).scalar()
    if person_id is not None:
        return int(person_id)
    # Who is erased loses the row and gets a tombstone in one transaction.
    connection.execute(database.insert(t.people), name | {"since": arrived.at})
    digest = digest_of_erased(arrived.submission.person)
    erased = select(t.tombstones.c.kind).where(t.tombstones.c.digest == digest)
    if connection.execute(erased).first():
        raise FeedbackRefusedError("person: was erased on request; a new pseudonym is needed")
    return int(connection.execute(_LOCK_PERSON, name).scalar_one())


def _take_photo(
    connection: Connection, database: Database, arrived: Arrived, person_id: int
) -> None:
    """Write the photo's row where it is new, and whose it is."""
    clean, named = arrived.clean, arrived.submission.photo_id is not None
    consent = arrived.submission.consent and not named
    row = connection.execute(_FIND_PHOTO, {"photo_id": arrived.photo_id}).first()
    if row is None or (clean is not None and not row.kept):
        if clean is None and consent:
            raise PhotoGoneError
        write_photo(connection, database, arrived.photo_id, clean, arrived.at)
    elif named and row.kept:
        return  # somebody else's, which this person was asked about
    upload = {"photo_id": arrived.photo_id, "person_id": person_id}
    upload |= {"sent_sha256": arrived.sent_sha256, "consent": consent}
    insert = database.replace(t.uploads, ("consent",)) if consent else database.insert(t.uploads)
    connection.execute(insert, upload)


def write_photo(
    connection: Connection,
    database: Database,
    photo_id: str,
    clean: CleanPhoto | None,
    at: datetime,
) -> None:
    """Write the row of a photo.

    Args:
        connection: Of a transaction that writes.
        database: Of the store.
        photo_id: Its id.
        clean: What is kept of it; None keeps its id alone.
        at: Now.
    """
    row: dict[str, Any] = {"photo_id": photo_id, "received_at": at}
    if clean is None:
        connection.execute(database.insert(t.photos), row | {"kept": False})
        return
    database.lock_photo(connection, photo_id)
    removal = t.removals.c.photo_id == photo_id
    connection.execute(t.removals.delete().where(removal))  # or its file would go
    # What was given back may be trained on again.
    digest = digest_of_erased(photo_id)
    connection.execute(t.tombstones.delete().where(t.tombstones.c.digest == digest))
    sizes = {"bytes": len(clean.data), "width": clean.width, "height": clean.height}
    held: dict[str, Any] = {"kept": True, "suffix": clean.suffix} | sizes
    connection.execute(database.replace(t.photos, tuple(held)), row | held)


def _row(arrived: Arrived, person_id: int) -> dict[str, Any]:
    submission = arrived.submission
    row: dict[str, Any] = {
        "person_id": person_id,
        "digest": arrived.digest,
        "photo_id": arrived.photo_id,
        "received_at": arrived.at,
        "metadata": json.dumps(submission.metadata) if submission.metadata else None,
    }
    row |= {
        name: getattr(submission, name)
        for name in ("key", "at", "seen_answer", "annotator", "device", "region")
    }
    answered = submission.answered
    if answered is not None:
        row |= {"bundle_id": answered.bundle_id, "tier": answered.tier}
        heads = {name: head.model_dump() for name, head in answered.heads.items()}
        row |= {"decision": answered.decision, "outputs": json.dumps(heads)}
        if answered.embedding is not None and submission.consent:
            row |= {"embedding": pack_embedding(answered.embedding)}
    return row


def _take_opinions(
    connection: Connection, arrived: Arrived, person_id: int, submission_id: int
) -> int:
    """Write the opinions; returns how many repeat none of the person's."""
    submission = arrived.submission
    heads = [opinion.head for opinion in submission.opinions]
    place = {"photo_id": arrived.photo_id, "person_id": person_id}
    history = earlier_opinions(connection, place, heads)
    bundle = submission.answered.bundle_id if submission.answered else None
    new: list[dict[str, Any]] = []
    changed: list[tuple[GivenOpinion, int]] = []
    taken = 0
    for opinion in submission.opinions:
        label = written_label(submission.label_of(opinion))
        own = GivenOpinion(None, submission_id, (opinion.verdict, label, bundle))
        earlier = [row for row in history if row.head == opinion.head]
        place_of_own = sum(row.at <= submission.at for row in earlier)
        ordered = in_order([given_opinion(row) for row in earlier], own, place_of_own)
        changed += ordered
        (replaced,) = (replaced for one, replaced in ordered if one is own)
        taken += replaced >= t.LATEST
        ids = place | {"submission_id": submission_id, "replaced": replaced}
        new.append(ids | dict(_opinion_row(submission, opinion, label)))
    write_replaced(connection, changed)
    connection.execute(_INSERT_OPINIONS, new)
    return taken


def earlier_opinions(
    connection: Connection, place: Mapping[str, Any], heads: Sequence[str]
) -> Sequence[Row[Any]]:
    """Rows of a person's opinions on a photo, by when they were given, then by arrival.

    Args:
        connection: Reads.
        place: `photo_id` and `person_id`.
        heads: Whose opinions.
    """
    return connection.execute(_HISTORY, {**place, "heads": heads}).all()


def given_opinion(row: Row[Any]) -> GivenOpinion:
    """An opinion from its row, as from `earlier_opinions`."""
    content = (row.verdict, row.label, row.bundle_id)
    return GivenOpinion(row.id, row.submission_id, content, row.replaced)


def write_replaced(connection: Connection, ordered: Sequence[tuple[GivenOpinion, int]]) -> None:
    """Write what `replaced` has to be, of rows that are there and have it otherwise."""
    changed = [
        {"changed": one.row, "replaced_now": replaced}
        for one, replaced in ordered
        if one.row is not None and replaced != one.replaced
    ]
    # Of a head one row is the latest at any time: what was makes room first.
    for change in sorted(changed, key=lambda change: change["replaced_now"] == t.LATEST):
        connection.execute(_REPLACE, change)


def _opinion_row(
    submission: Submission, opinion: HeadOpinion, label: str
) -> Iterator[tuple[str, Any]]:
    answer = submission.answered.heads.get(opinion.head) if submission.answered else None
    yield "head", opinion.head
    yield "verdict", opinion.verdict
    yield "label", label
    yield "confidence", opinion.confidence
    yield "at", submission.at
    yield "answered", written_label(answer.label if answer else None)
    yield "answered_confidence", answer.confidence if answer else None


def pack_embedding(values: Sequence[float]) -> bytes:
    """Features as the store keeps them: half precision, little-endian."""
    return struct.pack(f"<{len(values)}e", *values)


def written_label(label: Label) -> str:
    """A label as JSON; of a list in one order."""
    return json.dumps(sorted(label) if isinstance(label, list) else label, ensure_ascii=False)
