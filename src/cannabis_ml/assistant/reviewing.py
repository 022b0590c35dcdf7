"""Labels that people gave, looked at again: which ones a language model doubts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydantic import Field, create_model

from cannabis_ml.assistant.answers import NOT_SURE, Confidence, Form, ShortText, Suggested
from cannabis_ml.assistant.asking import Item, Outcome
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.prompting import render_prompt
from cannabis_ml.assistant.suggesting import Suggestion, described
from cannabis_ml.taxonomy import Head

PROMPT = "review_labels.v1"

COLUMNS = ("photo_id", "path", "label", "verdict", "suggested", "confidence", "reason")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the class that people gave it.

    Attributes:
        photo: The photo.
        label: Of one head.
    """

    photo: PhotoSource
    label: str


def review_questions(photos: Iterable[LabelledPhoto], head: Head, most_tokens: int) -> list[Item]:
    """A question per photo: which class fits, given the label that may be wrong.

    Args:
        photos: With labels of `head`.
        head: Multiclass or ordinal.
        most_tokens: Of an answer.
    """
    form = review_form(head)
    shown = described(head)
    return [
        Item(
            one.photo.photo_id,
            render_prompt(PROMPT, head=shown, label=one.label, not_sure=NOT_SURE),
            form,
            most_tokens,
            (one.photo,),
        )
        for one in photos
    ]


def review_form(head: Head) -> type[Form]:
    """The form of an answer: a class of the head, or not sure."""
    kind: Any = Literal[*head.class_names, NOT_SURE]
    fields: dict[str, Any] = {
        "label": (kind, Field(description="The class that fits best")),
        "confidence": (Confidence, Field(description="Probability that it is right, 0 to 1")),
        "reason": (ShortText, Field(description="What in the photo decides, a few words")),
    }
    return create_model("Review", __base__=Form, **fields)


def reviewed(photos: Sequence[LabelledPhoto], outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """What the language model thinks of each label.

    Args:
        photos: As given to `review_questions`.
        outcomes: Of its questions, in the same order.

    Returns:
        A row per answered question: `photo_id`, `path`, `label`, `verdict` (`right`, `wrong`,
        `unsure`), `suggested` (missing where not sure), `confidence` and `reason`; labels that are
        doubted first, the surest doubt at the top.
    """
    rows = []
    for one, outcome in zip(photos, outcomes, strict=True):
        answer: Any = outcome.answer
        if answer is None:
            continue
        unsure = answer.label == NOT_SURE
        verdict = "unsure" if unsure else "right" if answer.label == one.label else "wrong"
        suggested = None if unsure else answer.label
        known = (one.photo.photo_id, one.photo.path, one.label)
        rows.append((*known, verdict, suggested, answer.confidence, answer.reason))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    place = table["verdict"].map({"wrong": 0, "unsure": 1, "right": 2})
    order = table.assign(place=place).sort_values(
        ["place", "confidence"], ascending=[True, False], kind="stable"
    )
    return order.drop(columns="place").reset_index(drop=True)


def doubts(
    photos: Sequence[LabelledPhoto], outcomes: Sequence[Outcome], head: Head
) -> list[Suggestion]:
    """Labels that are doubted, as suggestions for the store: what fits instead."""
    found = []
    for one, outcome in zip(photos, outcomes, strict=True):
        answer: Any = outcome.answer
        if answer is None or answer.label in (NOT_SURE, one.label):
            continue
        heads = {head.name: Suggested(label=answer.label, confidence=answer.confidence)}
        found.append(Suggestion(outcome, heads, (answer.reason,), needs_review=True))
    return found
