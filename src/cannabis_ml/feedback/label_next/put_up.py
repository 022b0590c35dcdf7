"""What to label next, and probable label errors, as entries of the queue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd

from cannabis_ml.feedback.review_queue import MOST_ENTRIES, QueueEntry, QueueList, Source
from cannabis_ml.feedback.submission import Answered, AnsweredHead


def to_review(
    label_next: pd.DataFrame, label_errors: pd.DataFrame, head: str, model: tuple[str, str]
) -> QueueList:
    """Entries for both lists.

    Photos drawn uniformly are to be judged before the suggestion is seen: accuracy is measured by
    them.

    Args:
        label_next: As from `rank_photos`.
        label_errors: As from `list_label_errors`.
        head: The head that is labelled.
        model: Id of the bundle and tier that answered.

    Returns:
        Of each list the first `MOST_ENTRIES`.
    """
    entries = [
        _entry("label_next", row["rank"], row["kind"], row)
        | {"blind": bool(row["audit"])}
        | _suggested(head, model, row["answered"], row["confidence"])
        for row in label_next[:MOST_ENTRIES].to_dict("records")
    ]
    entries += [
        _entry("label_error", rank, "label_error", row)
        | _suggested(head, model, row["suggested"], row["suggested_prob"])
        for rank, row in enumerate(label_errors[:MOST_ENTRIES].to_dict("records"), 1)
    ]
    return QueueList(
        sources=("label_next", "label_error"),
        entries=tuple(QueueEntry.model_validate(entry) for entry in entries),
    )


def _entry(
    source: Source, rank: int, kind: str, row: Mapping[Hashable, object]
) -> dict[str, object]:
    reason = str(row["reason"])
    return {
        "photo_id": row["photo_id"],
        "path": row["path"],
        "source": source,
        "rank": int(rank),
        "kind": kind,
        # Names of classes come from whoever labelled, and may hold what texts must not.
        "reason": "".join(c for c in reason if c.isprintable() and c not in "<>")[:500],
    }


def _suggested(
    head: str, model: tuple[str, str], label: object, confidence: object
) -> dict[str, object]:
    if not isinstance(label, str):
        return {}
    bundle_id, tier = model
    share = min(1.0, max(0.0, float(str(confidence))))
    suggested = AnsweredHead(label=label, confidence=share)
    return {"suggestion": Answered(bundle_id=bundle_id, tier=tier, heads={head: suggested})}
