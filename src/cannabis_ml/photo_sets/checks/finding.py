"""Findings of checks of a whole set, and its heads and attributes as questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import pandas as pd

from cannabis_ml.taxonomy import Taxonomy

Severity = Literal["alarm", "warning", "hint"]

WITH, WITHOUT = "with", "without"
"""The two answers to an attribute."""

NAMED = 8
"""Classes that a sentence names before it counts the rest."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a set of photos as a whole.

    Attributes:
        check: Short name of the check, such as `rare_classes`.
        severity: `alarm`: results cannot be trusted until it is settled. `warning`: look at it.
            `hint`: good to know.
        head: The head concerned.
        sentence: What was found, for a person.
        advice: What to do about it, for a person.
        classes: Every class concerned, also those that the sentence has no room for.
        numbers: What the sentence rests on; plain JSON values.
    """

    check: str
    severity: Severity
    head: str
    sentence: str
    advice: str
    classes: list[str] = field(default_factory=list)
    numbers: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Question:
    """One question with one answer per photo: a head, or one attribute of a multilabel head.

    Attributes:
        head: Name of the head.
        name: As it stands in tables: the head's name, or `head.attribute`.
        attribute: The attribute, where the head is multilabel.
        answers: One per photo, missing where unknown; `with` and `without` for an attribute.
        classes: Every possible answer, in label order.
    """

    head: str
    name: str
    attribute: str | None
    answers: pd.Series
    classes: list[str]


def kept(photos: pd.DataFrame) -> pd.DataFrame:
    """The photos that are not set aside."""
    return photos[photos["defect"].isna()] if "defect" in photos else photos


def questions(photos: pd.DataFrame, taxonomy: Taxonomy) -> Iterator[Question]:
    """Every head as a question; a multilabel head as one question per attribute.

    Args:
        photos: One row per photo, with the label columns of `taxonomy`.
        taxonomy: The heads.
    """
    for head in taxonomy.heads:
        if head.kind != "multilabel":
            answers = photos[head.name].astype("object")
            yield Question(head.name, head.name, None, answers, head.class_names)
            continue
        for attribute, column in zip(head.class_names, head.columns, strict=True):
            answers = photos[column].map({1: WITH, 0: WITHOUT}).astype("object")
            yield Question(head.name, column, attribute, answers, [WITH, WITHOUT])


def class_counts(photos: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, dict[str, int]]:
    """Photos per class of each head; of an attribute, photos that show it. Zero where none."""
    return {
        head.name: {name: int(head.shows(photos, name).sum()) for name in head.class_names}
        for head in taxonomy.heads
    }


def listed(items: Iterable[str], limit: int = NAMED) -> str:
    """`a, b, c and 12 more`."""
    items = list(items)
    if len(items) <= limit + 1:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit:,} more"
