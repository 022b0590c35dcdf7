"""Export and import of a store, or of one person's data: JSON Lines and photos in a folder.

feedback.jsonl   a record per submission, in order of arrival
photos/          the photos of these people that were kept
marks.json       of a whole store: what was drawn, what is known, what was erased, and which photos
                 nobody sent; what is up for review is not in it: pipelines put it up anew
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, select

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import FeedbackError, FeedbackRefusedError, UnknownPersonError
from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.fields import ClassName, Moment, PhotoId, Share
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.queue_photos import add_exported
from cannabis_ml.feedback.reading import read_label, unpack_embedding
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import PHOTO_FILE, Record, read_part
from cannabis_ml.feedback.taking import Receipt, written_label

RECORDS = "feedback.jsonl"
MARKS = "marks.json"

BATCH, BATCH_BYTES = 200, 64_000_000
"""Records that are taken in together, and bytes of photos in memory from which on no more are."""


@dataclass(frozen=True)
class Exported:
    """How much was written.

    Attributes:
        submissions: Lines of `feedback.jsonl`.
        photos: Files in `photos/`.
    """

    submissions: int
    photos: int


@dataclass(frozen=True)
class Imported:
    """What became of the records of an import.

    Attributes:
        submissions: Taken in.
        opinions: New ones among them.
        retries: Submissions that were there already.
        refused: Where a record stands, and why it is not taken.
    """

    submissions: int
    opinions: int
    retries: int
    refused: tuple[tuple[str, str], ...]


class _Mark(BaseModel):
    model_config = ConfigDict(extra="forbid")

    photo_id: PhotoId
    purpose: str
    head: ClassName | str
    label: Any = None
    probability: Share | None = None
    at: Moment


class _Tombstone(BaseModel):
    model_config = ConfigDict(extra="forbid")

    digest: PhotoId
    kind: str
    at: Moment


class _AuditWeek(BaseModel):
    model_config = ConfigDict(extra="forbid")

    week: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    rate: Share


class _Added(BaseModel):
    model_config = ConfigDict(extra="forbid")

    photo: str = Field(pattern=PHOTO_FILE)
    sent_sha256: PhotoId


class _Marks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    marks: list[_Mark]
    tombstones: list[_Tombstone]
    audit_weeks: list[_AuditWeek] = []
    added: list[_Added] = []


def export(store: FeedbackStore, folder: Path, person: str | None = None) -> Exported:
    """Write a store, or what came from one person, to a folder.

    Args:
        store: Others may write to it meanwhile.
        folder: A new one; it is complete when it is there.
        person: A pseudonym; None for all.

    Raises:
        FeedbackError: If the folder is there already.
        UnknownPersonError: If there is nothing of the person in the store.
    """
    if folder.exists():
        raise FeedbackError(f"{folder} is there already: name a new folder.")
    with store.database.reading() as connection:
        records = list(_records(connection, person))
        marks = None if person else _marks(connection)
    if person is not None and not records:
        raise UnknownPersonError(f"There is nothing of a person '{person[:128]}' in the store.")
    with written_aside(folder) as aside:
        (aside / "photos").mkdir(parents=True)
        lines = [record.model_dump_json(exclude_none=True) for record in records]
        (aside / RECORDS).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        files = {record.photo for record in records if record.photo}
        files |= {one.photo for one in marks.added} if marks is not None else set()
        for name in sorted(files):
            (aside / name).write_bytes(store.photo(Path(name).stem))
        if marks is not None:
            (aside / MARKS).write_text(marks.model_dump_json(indent=1), "utf-8")
    return Exported(len(records), len(files))


def import_folder(store: FeedbackStore, folder: Path) -> Imported:
    """Take in what `export` wrote. What is there already stays; a bad record costs no other.

    Raises:
        FeedbackError: If it is not such a folder.
    """
    if not (folder / RECORDS).is_file():
        raise FeedbackError(f"{folder} has no {RECORDS}: it is not an export of feedback.")
    if (folder / MARKS).is_file():
        marks = _read_marks(folder)
        _bury(store, marks)
        for one in marks.added:
            add_exported(store, _photo(folder, one.photo), one.sent_sha256)
    refused: dict[int, str] = {}
    receipts: list[Receipt] = []
    for batch in _batches(folder, refused):
        for number, outcome in zip(batch, store.restore_all(batch.values()), strict=True):
            if isinstance(outcome, FeedbackRefusedError):
                refused[number] = str(outcome)
            else:
                receipts.append(outcome)
    if (folder / MARKS).is_file():
        _mark(store, _read_marks(folder))
    retries = sum(receipt.is_retry for receipt in receipts)
    opinions = sum(receipt.taken for receipt in receipts)
    faults = ((f"{RECORDS}, line {number}", refused[number]) for number in sorted(refused))
    return Imported(len(receipts) - retries, opinions, retries, tuple(faults))


def _batches(
    folder: Path, refused: dict[int, str]
) -> Iterator[dict[int, tuple[Record, bytes | None]]]:
    """Records by line, as many as are taken in together; what cannot be read goes to `refused`."""
    batch: dict[int, tuple[Record, bytes | None]] = {}
    size = 0
    with (folder / RECORDS).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = read_part(Record, line)
                photo = _photo(folder, record.photo) if record.photo else None
            except FeedbackRefusedError as error:
                refused[number] = str(error)
                continue
            batch[number] = (record, photo)
            size += len(photo or b"")
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                yield batch
                batch, size = {}, 0
    if batch:
        yield batch


def _records(connection: Connection, person: str | None) -> Iterator[Record]:
    query = (
        select(t.submissions, t.people.c.pseudonym, t.photos.c.kept, t.photos.c.suffix)
        .select_from(t.submissions.join(t.people).join(t.photos))
        .order_by(t.submissions.c.id)
    )
    given = select(t.opinions).order_by(t.opinions.c.id)
    uploads = select(t.uploads)
    if person is not None:
        query = query.where(t.people.c.pseudonym == person)
        own = select(t.people.c.id).where(t.people.c.pseudonym == person).scalar_subquery()
        given = given.where(t.opinions.c.person_id == own)
        uploads = uploads.where(t.uploads.c.person_id == own)
    opinions: dict[int, list[Row[Any]]] = {}
    for opinion in connection.execute(given):
        opinions.setdefault(opinion.submission_id, []).append(opinion)
    sent = {(u.photo_id, u.person_id): u for u in connection.execute(uploads)}
    for row in connection.execute(query):
        own_opinions = opinions.get(row.id, [])
        if own_opinions or row.outputs is not None:
            yield _record(row, own_opinions, sent.get((row.photo_id, row.person_id)))


def _record(row: Row[Any], opinions: list[Row[Any]], upload: Row[Any] | None) -> Record:
    has_file = bool(row.kept and upload is not None and upload.consent)
    submission: dict[str, Any] = {
        "key": row.key,
        "person": row.pseudonym,
        "annotator": row.annotator,
        "at": row.at,
        "photo_id": None if has_file else row.photo_id,
        "consent": has_file,
        "seen_answer": row.seen_answer,
        "opinions": [
            {
                "head": opinion.head,
                "verdict": opinion.verdict,
                "label": read_label(opinion.label),
                "confidence": opinion.confidence,
            }
            for opinion in opinions
        ],
        "device": row.device,
        "region": row.region,
        "metadata": json.loads(row.metadata) if row.metadata else {},
    }
    if row.outputs is not None:
        answered = {"bundle_id": row.bundle_id, "tier": row.tier, "decision": row.decision}
        submission["answered"] = answered | {"heads": json.loads(row.outputs)}
        if row.embedding is not None and has_file:
            submission["answered"]["embedding"] = unpack_embedding(row.embedding).tolist()
    return Record.model_validate(
        {
            "submission": submission,
            "digest": row.digest,
            "received_at": row.received_at,
            "photo": f"photos/{row.photo_id}{row.suffix}" if has_file else None,
            "sent_sha256": upload.sent_sha256 if upload is not None else None,
        }
    )


def _photo(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise FeedbackRefusedError(f"{name} cannot be read ({error.strerror})") from error


def _marks(connection: Connection) -> _Marks:
    marks = connection.execute(select(t.marks).order_by(*t.marks.primary_key)).mappings()
    stones = connection.execute(select(t.tombstones).order_by(t.tombstones.c.digest)).mappings()
    weeks = connection.execute(select(t.audit_weeks).order_by(t.audit_weeks.c.week)).mappings()
    photos = t.added_photos.join(t.photos)
    added = select(t.added_photos, t.photos.c.suffix).select_from(photos).where(t.photos.c.kept)
    return _Marks.model_validate(
        {
            "added": [
                {"photo": f"photos/{row.photo_id}{row.suffix}", "sent_sha256": row.sent_sha256}
                for row in connection.execute(added.order_by(*t.added_photos.primary_key))
            ],
            "marks": [{**row, "label": read_label(row["label"])} for row in marks],
            "tombstones": [dict(row) for row in stones],
            "audit_weeks": [dict(row) for row in weeks],
        }
    )


def _read_marks(folder: Path) -> _Marks:
    try:
        return _Marks.model_validate_json((folder / MARKS).read_bytes())
    except ValueError as error:
        raise FeedbackError(f"{folder / MARKS} is damaged: {error}") from error


def _bury(store: FeedbackStore, marks: _Marks) -> None:
    rows = [stone.model_dump() for stone in marks.tombstones]

    def bury(connection: Connection) -> None:
        for row in rows:
            connection.execute(store.database.insert(t.tombstones), row)

    store.database.write(bury)


def _mark(store: FeedbackStore, marks: _Marks) -> None:
    """Marks of photos that were not taken in are left out."""
    known = set(store.photos()["photo_id"])
    rows = [mark.model_dump() for mark in marks.marks if mark.photo_id in known]

    def mark(connection: Connection) -> None:
        for week in marks.audit_weeks:
            connection.execute(store.database.insert(t.audit_weeks), week.model_dump())
        for row in rows:
            label: Label = row["label"]
            written = row | {"label": written_label(label), "at": row["at"].astimezone(UTC)}
            connection.execute(store.database.insert(t.marks), written)

    store.database.write(mark)
