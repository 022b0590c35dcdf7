"""What the store holds at one moment, as the pipelines read it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from cannabis_ml.feedback.opinions import opinions_table
from cannabis_ml.feedback.reading import ANSWER_COLUMNS, PHOTO_COLUMNS
from cannabis_ml.taxonomy import Taxonomy

GOLD_COLUMNS = {"photo_id": "str", "head": "str", "label": "object"}


def empty_table(columns: dict[str, str]) -> pd.DataFrame:
    """A table of these columns and types without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


@dataclass(frozen=True, eq=False)
class FeedbackSnapshot:
    """Tables of the store, all of them empty where there is no store yet.

    Attributes:
        opinions: See `opinions_table`.
        answers: See `reading.ANSWER_COLUMNS`.
        photos: See `reading.PHOTO_COLUMNS`.
        gold: Known labels: `photo_id`, `head` and `label`.
        paths: Where each kept photo can be opened on this machine, by `photo_id`.
    """

    opinions: pd.DataFrame = field(default_factory=lambda: opinions_table([]))
    answers: pd.DataFrame = field(default_factory=lambda: empty_table(ANSWER_COLUMNS))
    photos: pd.DataFrame = field(default_factory=lambda: empty_table(PHOTO_COLUMNS))
    gold: pd.DataFrame = field(default_factory=lambda: empty_table(GOLD_COLUMNS))
    paths: dict[str, str] = field(default_factory=dict)


def gold_table(gold: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Known labels in the taxonomy's label columns.

    Args:
        gold: `photo_id`, `head` and `label`, a row each, as from the store.
        taxonomy: Heads and classes; heads that it does not have are left out.

    Returns:
        One row per photo: `photo_id` and the label columns, missing where nothing is known.
    """
    rows: dict[str, dict[str, str | int]] = {}
    heads = {head.name: head for head in taxonomy.heads}
    for photo_id, name, label in gold[["photo_id", "head", "label"]].itertuples(index=False):
        head, row = heads.get(name), rows.setdefault(photo_id, {})
        if head is None or label is None:
            continue
        if head.kind == "multilabel":
            row |= {head.column_of(one): int(one in label) for one in head.class_names}
        elif label in head.class_names:
            row[head.name] = label
    table = pd.DataFrame(rows.values(), columns=taxonomy.columns)
    table.insert(0, "photo_id", pd.Series(list(rows), dtype="str"))
    return table
