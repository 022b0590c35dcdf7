"""What the store gives: tables, totals, and what was erased."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, func, select

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.assistants import is_assistant
from cannabis_ml.feedback.columns import ANSWER_COLUMNS, EMBEDDING_COLUMNS, PHOTO_COLUMNS
from cannabis_ml.feedback.opinions import VERDICTS, Label, Opinion, opinions_table
from cannabis_ml.feedback.photo_store import PhotoStore
from cannabis_ml.feedback.taking import digest_of_erased, opinion_id_of

if TYPE_CHECKING:
    import pandas as pd

EVERY_HEAD = ""
"""The head of a mark that holds for all heads."""


class Summary(BaseModel):
    """Totals of all opinions that count, one per person, photo and head."""

    model_config = ConfigDict(frozen=True)

    people: int
    photos: int
    photos_kept: int
    submissions: int
    opinions: int
    by_verdict: dict[str, int]
    most_corrected: list[tuple[str, str, int]]
    """Head, answered class and how often it was corrected: the five most frequent."""
    proposed: list[tuple[str, str, int]]
    """Head, proposed class and by how many people."""
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Tombstones:
    """What was erased, as hashes that lead back to nothing.

    Apply them to what came from feedback, and to nothing else: anybody may send a photo that is
    also in another source, and have it erased here.

    Attributes:
        photos: Digests of ids of photos.
        people: Digests of pseudonyms.
    """

    photos: frozenset[str]
    people: frozenset[str]

    def covers_photo(self, photo_id: str) -> bool:
        return digest_of_erased(photo_id) in self.photos

    def covers_person(self, person: str) -> bool:
        return digest_of_erased(person) in self.people


def opinions(connection: Connection, *, history: bool) -> pd.DataFrame:
    """See `FeedbackStore.opinions`.

    What a language model suggested is its own opinion: beside a person's it is no answer of a
    bundle, and neither accuracy nor the bundle's voice in vetting is taken from it.
    """
    audited, gold = _marked(connection, "audit"), _marked(connection, "gold")
    query = (
        select(t.opinions, t.people.c.pseudonym)
        .add_columns(t.submissions.c.annotator, t.submissions.c.seen_answer)
        .add_columns(t.submissions.c.bundle_id, t.submissions.c.tier, t.submissions.c.key)
        .select_from(t.opinions.join(t.submissions).join(t.people, _OPINION_OF))
        .order_by(t.opinions.c.id)
    )
    replaced = t.opinions.c.replaced
    query = query.where(replaced >= t.LATEST if history else replaced == t.LATEST)
    return opinions_table(
        Opinion(
            opinion_id=opinion_id_of(row.pseudonym, row.key, row.head),
            photo_id=row.photo_id,
            person=row.pseudonym,
            annotator=row.annotator,
            head=row.head,
            verdict=row.verdict,
            label=read_label(row.label),
            confidence=_or_nan(row.confidence),
            seen_answer=row.seen_answer,
            at=row.at,
            audit=_is_marked(audited, row),
            gold=_is_marked(gold, row),
            **_answer_of(row),
        )
        for row in connection.execute(query)
    )


def _answer_of(row: Any) -> dict[str, Any]:
    """What a bundle answered beside an opinion."""
    if is_assistant(row.bundle_id):
        return {}
    return {
        "bundle_id": row.bundle_id or "",
        "tier": row.tier or "",
        "answered": read_label(row.answered),
        "answered_confidence": _or_nan(row.answered_confidence),
    }


_OPINION_OF = t.opinions.c.person_id == t.people.c.id


_IS_THERE = t.submissions.c.withdrawn_at.is_(None) | t.submissions.c.outputs.is_not(None)
"""Of a submission that was taken back the answer remains, where there is one."""


def answers(connection: Connection) -> pd.DataFrame:
    """See `FeedbackStore.answers`."""
    audited = select(t.marks).where(t.marks.c.purpose == "audit")
    drawn = {(row.photo_id, row.head): row.probability for row in connection.execute(audited)}
    query = (
        select(t.submissions, t.people.c.pseudonym)
        .join(t.people)
        .where(t.submissions.c.outputs.is_not(None))
        .order_by(t.submissions.c.id)
    )
    rows: list[dict[str, Any]] = []
    for row in connection.execute(query):
        if is_assistant(row.bundle_id):
            continue
        shared = {"photo_id": row.photo_id, "person": row.pseudonym, "at": row.at}
        shared |= {"bundle_id": row.bundle_id, "tier": row.tier, "decision": row.decision or ""}
        for head, output in json.loads(row.outputs).items():
            keys = ((row.photo_id, head), (row.photo_id, EVERY_HEAD))
            chances = [_or_nan(drawn[key]) for key in keys if key in drawn]
            own = {"head": head, "answered": output["label"], "probs": output["probs"]}
            own |= {"answered_confidence": _or_nan(output["confidence"])}
            own |= {"audit": bool(chances), "audit_probability": (*chances, math.nan)[0]}
            rows.append(shared | own)
    return table_of(rows, ANSWER_COLUMNS)


def embeddings(connection: Connection) -> pd.DataFrame:
    """See `FeedbackStore.embeddings`."""
    s = t.submissions.c
    query = (
        select(s.photo_id, s.at, s.bundle_id, s.tier, s.embedding, t.people.c.pseudonym)
        .join(t.people)
        .where(s.embedding.is_not(None))
        .order_by(s.at, s.id)
    )
    by_photo = {
        (row.photo_id, row.bundle_id, row.tier): {
            "photo_id": row.photo_id,
            "person": row.pseudonym,
            "at": row.at,
            "bundle_id": row.bundle_id,
            "tier": row.tier,
            "embedding": unpack_embedding(row.embedding),
        }
        for row in connection.execute(query)
    }
    return table_of(list(by_photo.values()), EMBEDDING_COLUMNS)


def unpack_embedding(written: bytes) -> np.ndarray:
    """Features from what the store keeps, float32 (F,)."""
    return np.frombuffer(written, "<f2").astype(np.float32)


def audit_rates(connection: Connection) -> dict[str, float]:
    """See `FeedbackStore.audit_rates`."""
    return {row.week: row.rate for row in connection.execute(select(t.audit_weeks))}


def photos(connection: Connection, files: PhotoStore) -> pd.DataFrame:
    """See `FeedbackStore.photos`."""
    sent: dict[str, set[str]] = {}
    for upload in connection.execute(select(t.uploads.c.photo_id, t.uploads.c.sent_sha256)):
        sent.setdefault(upload.photo_id, set()).add(upload.sent_sha256)
    for added in connection.execute(select(t.added_photos)):
        sent.setdefault(added.photo_id, set()).add(added.sent_sha256)
    s = t.submissions.c
    details: dict[str, Any] = {}
    query = select(s.photo_id, s.device, s.region, s.metadata).order_by(s.id)
    for row in connection.execute(query):
        details.setdefault(row.photo_id, row)
    rows: list[dict[str, Any]] = []
    for row in connection.execute(select(t.photos).order_by(t.photos.c.received_at)):
        own = details.get(row.photo_id)
        rows.append(
            {
                "photo_id": row.photo_id,
                "kept": row.kept,
                "address": files.address(row.photo_id, row.suffix) if row.kept else "",
                "bytes": row.bytes or 0,
                "width": row.width or 0,
                "height": row.height or 0,
                "received_at": row.received_at,
                "sent_sha256": sorted(sent.get(row.photo_id, ())),
                "device": (own.device if own else None) or "",
                "region": (own.region if own else None) or "",
                "metadata": json.loads(own.metadata) if own and own.metadata else {},
            }
        )
    return table_of(rows, PHOTO_COLUMNS)


def table_of(rows: list[dict[str, Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """The same types with and without rows."""
    import pandas as pd

    columns = {
        name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in dtypes.items()
    }
    return pd.DataFrame(columns)


def summary(connection: Connection) -> Summary:
    """See `FeedbackStore.summary`."""

    def count(what: Any) -> int:
        return int(connection.execute(select(func.count()).select_from(what)).scalar_one())

    o = t.opinions.c
    total = func.count().label("total")
    by_verdict = select(o.verdict, total).where(o.replaced == t.LATEST).group_by(o.verdict)
    totals = {row.verdict: int(row.total) for row in connection.execute(by_verdict)}
    kinds = select(o.verdict, o.head, o.answered, o.label, total).where(o.replaced == t.LATEST)
    kinds = kinds.where(o.verdict.in_(("corrected", "proposed")))
    corrected: Counter[tuple[str, str]] = Counter()
    proposed: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(kinds.group_by(o.verdict, o.head, o.answered, o.label)):
        if row.verdict == "proposed":
            proposed[row.head, str(read_label(row.label))] += row.total
        else:
            for name in _wrong_classes(read_label(row.answered), read_label(row.label)):
                corrected[row.head, name] += row.total
    first, last = connection.execute(select(func.min(o.at), func.max(o.at))).one()
    return Summary(
        people=count(t.people),
        photos=count(t.photos),
        photos_kept=count(select(t.photos).where(t.photos.c.kept).subquery()),
        submissions=count(select(t.submissions).where(_IS_THERE).subquery()),
        opinions=sum(totals.values()),
        by_verdict={name: totals.get(name, 0) for name in VERDICTS},
        most_corrected=_most(corrected)[:5],
        proposed=_most(proposed),
        first=first,
        last=last,
    )


def _most(counts: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(head, name, number) for (head, name), number in ordered]


def _wrong_classes(answered: Label, label: Label) -> list[str]:
    """Classes that were answered and are not there."""
    if isinstance(answered, list):
        return sorted(set(answered) - set(label if isinstance(label, list) else []))
    return [] if answered is None else [answered]


def tombstones(connection: Connection) -> Tombstones:
    """See `FeedbackStore.tombstones`."""
    rows = connection.execute(select(t.tombstones.c.kind, t.tombstones.c.digest)).all()
    return Tombstones(
        photos=frozenset(row.digest for row in rows if row.kind == "photo"),
        people=frozenset(row.digest for row in rows if row.kind == "person"),
    )


def _marked(connection: Connection, purpose: str) -> set[tuple[str, str]]:
    query = select(t.marks.c.photo_id, t.marks.c.head).where(t.marks.c.purpose == purpose)
    return {(row.photo_id, row.head) for row in connection.execute(query)}


def _is_marked(marked: set[tuple[str, str]], row: Any) -> bool:
    return (row.photo_id, row.head) in marked or (row.photo_id, EVERY_HEAD) in marked


@lru_cache(maxsize=4096)
def _parsed(text: str) -> str | tuple[str, ...] | None:
    label = json.loads(text)
    return tuple(label) if isinstance(label, list) else label


def read_label(text: str) -> Label:
    """A label from its JSON."""
    label = _parsed(text)
    return list(label) if isinstance(label, tuple) else label


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
