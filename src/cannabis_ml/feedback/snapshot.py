"""What the store holds at one moment, as the pipelines read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cannabis_ml.feedback.columns import ANSWER_COLUMNS, EMBEDDING_COLUMNS, PHOTO_COLUMNS
from cannabis_ml.feedback.opinions import opinions_table

if TYPE_CHECKING:
    from cannabis_ml.feedback.store import FeedbackStore

GOLD_COLUMNS = {"photo_id": "str", "head": "str", "label": "object"}


def empty_table(columns: dict[str, str]) -> pd.DataFrame:
    """A table of these columns and types without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


@dataclass(frozen=True, eq=False)
class FeedbackSnapshot:
    """Tables of the store, all of them empty where there is no store yet.

    Attributes:
        opinions: See `opinions_table`.
        answers: See `columns.ANSWER_COLUMNS`.
        photos: See `columns.PHOTO_COLUMNS`.
        gold: Known labels: `photo_id`, `head` and `label`.
        paths: Where each kept photo can be opened on this machine, by `photo_id`.
        embeddings: See `columns.EMBEDDING_COLUMNS`.
        audit_rates: See `FeedbackStore.audit_rates`.
    """

    opinions: pd.DataFrame = field(default_factory=lambda: opinions_table([]))
    answers: pd.DataFrame = field(default_factory=lambda: empty_table(ANSWER_COLUMNS))
    photos: pd.DataFrame = field(default_factory=lambda: empty_table(PHOTO_COLUMNS))
    gold: pd.DataFrame = field(default_factory=lambda: empty_table(GOLD_COLUMNS))
    paths: dict[str, str] = field(default_factory=dict)
    embeddings: pd.DataFrame = field(default_factory=lambda: empty_table(EMBEDDING_COLUMNS))
    audit_rates: dict[str, float] = field(default_factory=dict)


def snapshot_of(store: FeedbackStore) -> FeedbackSnapshot:
    """All of a store; photos by the address at which the store keeps them."""
    photos = store.photos()
    kept = photos[photos["kept"]]
    return FeedbackSnapshot(
        opinions=store.opinions(),
        answers=store.answers(),
        photos=photos,
        gold=store.gold(),
        paths=dict(zip(kept["photo_id"], kept["address"], strict=True)),
        embeddings=store.embeddings(),
        audit_rates=store.audit_rates(),
    )
