"""The tables of the store, the same in SQLite and PostgreSQL.

`migrations/` makes them; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

HEAD_REVISION = "0004"
"""The newest migration."""


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC; the databases hold it without a zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData()

people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pseudonym", String(128), nullable=False, unique=True),
    Column("since", UtcTime, nullable=False),
)

photos = Table(
    "photos",
    metadata,
    Column("photo_id", String(64), primary_key=True),
    Column("kept", Boolean, nullable=False),  # whether its bytes are in the photo store
    Column("suffix", String(8)),  # this and the sizes: NULL where the photo was never sent
    Column("bytes", Integer),
    Column("width", Integer),
    Column("height", Integer),
    Column("received_at", UtcTime, nullable=False),
)

uploads = Table(  # who sent which photo, and the hash of what was sent
    "uploads",
    metadata,
    Column("photo_id", ForeignKey("photos.photo_id"), primary_key=True),
    Column("person_id", ForeignKey("people.id"), primary_key=True),
    Column("sent_sha256", String(64), primary_key=True),
    Column("consent", Boolean, nullable=False),
    Index("uploads_by_person", "person_id"),
    Index("uploads_by_hash", "sent_sha256"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False),
    Column("key", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("photo_id", ForeignKey("photos.photo_id"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("seen_answer", Boolean, nullable=False),
    Column("annotator", String(16), nullable=False),
    Column("bundle_id", String(128)),
    Column("tier", String(128)),
    Column("decision", String(128)),
    Column("outputs", Text),  # JSON: what was answered per head
    Column("device", String(100)),
    Column("region", String(100)),
    Column("metadata", Text),  # JSON
    Column("embedding", LargeBinary),  # float16, little-endian; with consent only
    Column("withdrawn_at", UtcTime),  # its opinions were taken back: there are none any more
    UniqueConstraint("person_id", "key"),
    Index("submissions_by_photo", "photo_id"),
)

opinions = Table(  # photo and person are those of the submission, for the index
    "opinions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("submission_id", ForeignKey("submissions.id"), nullable=False),
    Column("photo_id", String(64), nullable=False),
    Column("person_id", Integer, nullable=False),
    Column("head", String(200), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("label", Text, nullable=False),  # JSON
    Column("confidence", Double),
    Column("at", UtcTime, nullable=False),
    Column("answered", Text, nullable=False),  # JSON
    Column("answered_confidence", Double),
    # LATEST, or else the submission's own id: so the same person has one latest opinion. Negative
    # where it repeats the person's opinion before or after it, and does not count.
    Column("replaced", Integer, nullable=False),
    Index("opinions_by_submission", "submission_id"),
    UniqueConstraint("photo_id", "person_id", "head", "replaced"),
)

LATEST = 0
"""`replaced` of an opinion that the person has not replaced."""

marks = Table(  # photos drawn for measuring, and those whose label is known
    "marks",
    metadata,
    Column("photo_id", ForeignKey("photos.photo_id"), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("head", String(200), primary_key=True),
    Column("label", Text, nullable=False),  # JSON: of gold photos
    Column("probability", Double),  # with which an audited photo was drawn
    Column("at", UtcTime, nullable=False),
)

queue = Table(  # photos that wait for a person's opinion; see `review_queue.QueueEntry`
    "queue",
    metadata,
    Column("photo_id", ForeignKey("photos.photo_id"), primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("suggestion", Text),  # JSON: an answer
    Column("at", UtcTime, nullable=False),  # when it was put up
)

added_photos = Table(  # photos that nobody sent: pipelines put them up, of files with these hashes
    "added_photos",
    metadata,
    Column("photo_id", ForeignKey("photos.photo_id"), primary_key=True),
    Column("sent_sha256", String(64), primary_key=True),
    Index("added_photos_by_hash", "sent_sha256"),
)

audit_weeks = Table(  # how often photos of a week are drawn for audit: fixed by the first draw
    "audit_weeks",
    metadata,
    Column("week", String(10), primary_key=True),  # the Monday that it begins on
    Column("rate", Double, nullable=False),
)

tombstones = Table(  # hashes of the ids of what was erased
    "tombstones",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("at", UtcTime, nullable=False),
)

removals = Table(  # photos whose rows are gone and whose files are still to go
    "removals",
    metadata,
    Column("photo_id", String(64), primary_key=True),
    Column("suffix", String(8), nullable=False),
)

jobs = Table(  # many photos to be answered at leisure
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),  # hash of the API key; empty without keys
    Column("language", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("photos", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Index("jobs_by_end", "expires_at"),
)

job_photos = Table(
    "job_photos",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # in the order in which they were sent
    Column("name", String(200), nullable=False),
    Column("suffix", String(8)),  # of its file; NULL once that is not needed any more
    Column("tries", Integer, nullable=False),
    Column("claimed_until", UtcTime),  # some process works on it until then
    Column("place", Integer),  # in the order in which results came; NULL: waiting
    Column("result", Text),  # JSON
    Index("job_photos_by_place", "place", "number"),
)
