"""Photos drawn for measuring accuracy, and those whose labels are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.reading import EVERY_HEAD, read_label, table_of
from cannabis_ml.feedback.taking import written_label

if TYPE_CHECKING:
    import pandas as pd


def audits(photo_ids: Iterable[str], probability: float, now: datetime) -> list[dict[str, Any]]:
    """Rows for photos that were drawn; they hold for every head."""
    shared = {"purpose": "audit", "head": EVERY_HEAD, "label": "null", "at": now}
    return [shared | {"photo_id": i, "probability": probability} for i in sorted(set(photo_ids))]


def draw_audits(
    connection: Connection,
    database: Database,
    rates: Mapping[str, float],
    drawn: Mapping[str, str],
    now: datetime,
) -> int:
    """See `FeedbackStore.draw_audits`."""
    for week, rate in sorted(rates.items()):
        connection.execute(database.insert(t.audit_weeks), {"week": week, "rate": rate})
    fixed = {row.week: row.rate for row in connection.execute(select(t.audit_weeks))}
    known = set(connection.execute(select(t.photos.c.photo_id)).scalars())
    marked = select(t.marks.c.photo_id).where(t.marks.c.purpose == "audit")
    known -= set(connection.execute(marked).scalars())
    counted = [
        name for name in drawn if name in known and fixed.get(drawn[name]) == rates[drawn[name]]
    ]
    for photo_id in sorted(counted):
        for row in audits([photo_id], rates[drawn[photo_id]], now):
            connection.execute(database.insert(t.marks), row)
    return len(counted)


def golds(labels: Mapping[tuple[str, str], Label], now: datetime) -> list[dict[str, Any]]:
    """Rows for labels that are known."""
    shared = {"purpose": "gold", "probability": None, "at": now}
    return [
        shared | {"photo_id": photo_id, "head": head, "label": written_label(label)}
        for (photo_id, head), label in sorted(labels.items(), key=lambda item: item[0])
    ]


def mark(connection: Connection, database: Database, rows: list[dict[str, Any]]) -> None:
    """Write marks; what is there stays, but for the labels of gold photos.

    Raises:
        FeedbackError: If a photo is not in the store.
    """
    for row in rows:
        photo = select(t.photos.c.photo_id).where(t.photos.c.photo_id == row["photo_id"])
        if connection.execute(photo.with_for_update(key_share=True)).first() is None:
            raise FeedbackError(f"Photo {row['photo_id'][:64]} is not in the store.")
        is_gold = row["purpose"] == "gold"
        insert = database.replace(t.marks, ("label",)) if is_gold else database.insert(t.marks)
        connection.execute(insert, row)


def gold(connection: Connection) -> pd.DataFrame:
    """See `FeedbackStore.gold`."""
    m = t.marks.c
    query = select(m.photo_id, m.head, m.label).where(m.purpose == "gold")
    rows = [
        {"photo_id": row.photo_id, "head": row.head, "label": read_label(row.label)}
        for row in connection.execute(query.order_by(m.photo_id, m.head))
    ]
    return table_of(rows, {"photo_id": "str", "head": "str", "label": "object"})
