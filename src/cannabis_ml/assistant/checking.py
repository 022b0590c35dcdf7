"""Answers of a bundle, looked at by a language model: flags for people, never another answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydantic import Field, create_model

from cannabis_ml.assistant.answers import Form, ShortTexts, Suggested
from cannabis_ml.assistant.asking import Item, Outcome
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.prompting import render_prompt
from cannabis_ml.assistant.suggesting import Suggestion, described
from cannabis_ml.inference.answer import Answer
from cannabis_ml.taxonomy import Taxonomy

PROMPT = "check_predictions.v1"

COLUMNS = ("photo_id", "path", "verdict", "heads", "concerns", "answers")


@dataclass(frozen=True)
class AnsweredPhoto:
    """A photo and what a bundle answered for it.

    Attributes:
        photo: The photo.
        answers: By head the decided class or classes, and its confidence where there is one.
    """

    photo: PhotoSource
    answers: Mapping[str, dict[str, object]]


def answers_in_short(answer: Answer) -> dict[str, dict[str, object]]:
    """What is decided for each head, with the confidence of one class."""
    found: dict[str, dict[str, object]] = {}
    for name, one in answer.items():
        if one.decided is None:
            continue
        found[name] = {"answer": one.decided}
        if isinstance(one.decided, str):
            place = one.head.class_names.index(one.decided)
            found[name]["confidence"] = round(float(one.probs[place]), 2)
    return found


def check_questions(
    photos: Iterable[AnsweredPhoto], taxonomy: Taxonomy, most_tokens: int
) -> list[Item]:
    """A question per photo on all answers at once."""
    form = check_form(taxonomy)
    heads = [described(head) for head in taxonomy.heads]
    return [
        Item(
            one.photo.photo_id,
            render_prompt(PROMPT, heads=heads, answers=dict(one.answers)),
            form,
            most_tokens,
            (one.photo,),
        )
        for one in photos
    ]


def check_form(taxonomy: Taxonomy) -> type[Form]:
    """The form of an answer: a verdict, the heads that are doubted, and concerns."""
    head: Any = Literal[*(one.name for one in taxonomy.heads)]
    fields: dict[str, Any] = {
        "verdict": (Literal["agree", "disagree", "uncertain"], Field(description="On all answers")),
        "heads": (list[head], Field(description="Whose answer is doubted")),
        "concerns": (ShortTexts, Field(description="What speaks against them, a few words each")),
    }
    return create_model("Check", __base__=Form, **fields)


def checked(photos: Sequence[AnsweredPhoto], outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """What the language model thinks of each photo's answers.

    Returns:
        A row per answered question, doubts first: `photo_id`, `path`, `verdict`, `heads`,
        `concerns` and `answers`, the last three as text.
    """
    rows = []
    for one, outcome in zip(photos, outcomes, strict=True):
        found: Any = outcome.answer
        if found is None:
            continue
        given = "; ".join(f"{head}: {each['answer']}" for head, each in one.answers.items())
        lists = (", ".join(dict.fromkeys(found.heads)), "; ".join(found.concerns), given)
        rows.append((one.photo.photo_id, one.photo.path, found.verdict, *lists))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    place = table["verdict"].map({"disagree": 0, "uncertain": 1, "agree": 2})
    order = place.sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def flags(outcomes: Iterable[Outcome], taxonomy: Taxonomy) -> list[Suggestion]:
    """Photos whose answers are doubted, for the store: people look at them; no class is named."""
    found = []
    for outcome in outcomes:
        answer: Any = outcome.answer
        if answer is None or answer.verdict == "agree":
            continue
        names = dict.fromkeys(answer.heads) or [taxonomy.heads[0].name]
        heads = {name: Suggested(label=None, confidence=0.0) for name in names}
        found.append(Suggestion(outcome, heads, tuple(answer.concerns), needs_review=True))
    return found
