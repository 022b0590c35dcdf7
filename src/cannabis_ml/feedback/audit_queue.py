"""Photos drawn for audit as entries of the queue."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.feedback.submission import Answered, AnsweredHead


def audits_to_review(photo_ids: Sequence[str], answers: pd.DataFrame) -> QueueList:
    """Entries for photos to judge, in an order that does not depend on when they came.

    Args:
        photo_ids: Of photos in the store.
        answers: See `columns.ANSWER_COLUMNS`; the latest of a photo is shown to who asks for it.
    """
    latest = answers[answers["photo_id"].isin(list(photo_ids))]
    suggested = {str(name): _latest(rows) for name, rows in latest.groupby("photo_id")}
    # Who judges a part of the list has judged a uniform sample.
    shuffled = sorted(photo_ids, key=lambda one: hashlib.sha256(one.encode()).digest())
    return QueueList(
        sources=("audit",),
        entries=tuple(
            QueueEntry(
                photo_id=photo_id,
                source="audit",
                rank=rank,
                kind="audit",
                reason="drawn uniformly from the answers given, to measure accuracy by",
                blind=True,
                suggestion=suggested.get(photo_id),
            )
            for rank, photo_id in enumerate(shuffled, 1)
        ),
    )


def _latest(rows: pd.DataFrame) -> Answered:
    """The last answer of one photo."""
    rows = rows[rows["at"] == rows["at"].max()]
    rows = rows[rows["bundle_id"] == rows["bundle_id"].iloc[-1]]
    heads = {
        str(row["head"]): AnsweredHead(
            label=row["answered"],
            confidence=_known(row["answered_confidence"]),
            probs=row["probs"],
        )
        for row in rows.to_dict("records")
    }
    last = rows.iloc[-1]
    return Answered(bundle_id=last["bundle_id"], tier=last["tier"], heads=heads)


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
