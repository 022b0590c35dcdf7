"""Language models among the annotators: people judge them, and they never judge people.

A suggestion is no vote. How often each language model is right is learnt from the photos on which
people spoke, and so much its suggestions then count, beside what bundles answer. As another voter a
poor one that suggests labels for all photos would outvote good people who each judge a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.vetting.consensus import Consensus
from cannabis_ml.feedback.vetting.params import PeopleParams
from cannabis_ml.feedback.vetting.people import people_table, table_of_evidence, vote_evidence
from cannabis_ml.feedback.vetting.questions import Questions
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

SUGGESTED = "suggested by a language model alone: waits for a person"


def suggestions(opinions: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """The latest opinions of language models that name classes of the taxonomy.

    Returns:
        `photo_id`, `head`, `person` and `label`, a row per photo, head and language model, sorted.
    """
    mine = opinions[(opinions["annotator"] == "model") & opinions["verdict"].isin(_LABELLED)]
    mine = mine.sort_values(["at", "opinion_id"], kind="stable")
    mine = mine.drop_duplicates(["photo_id", "person", "head"], keep="last")
    heads = {head.name: head for head in taxonomy.heads}
    fits = [
        name in heads and _fits(label, heads[name])
        for name, label in zip(mine["head"], mine["label"], strict=True)
    ]
    kept = mine.loc[np.array(fits, bool), ["photo_id", "head", "person", "label"]]
    return kept.sort_values(["photo_id", "head", "person"], ignore_index=True)


_LABELLED = ("confirmed", "corrected")


def judge_assistants(
    suggested: pd.DataFrame,
    taxonomy: Taxonomy,
    agreed: Sequence[tuple[Questions, Consensus]],
    params: PeopleParams,
) -> pd.DataFrame:
    """Estimate how often each language model is right, from what people said of the same photos.

    Args:
        suggested: From `suggestions`.
        taxonomy: Heads and classes.
        agreed: Tasks of each head and what people agreed on, without language models.
        params: Who is quarantined.

    Returns:
        A row per language model, as `judge_people` has them; `compared` counts photos that people
        spoke on.
    """
    names = sorted(suggested["person"].unique())
    place = {name: i for i, name in enumerate(names)}
    logs, totals = table_of_evidence(len(names))
    for head in taxonomy.heads:
        who = suggested.loc[suggested["head"] == head.name, "person"].map(place)
        number = np.bincount(who.to_numpy(np.int64), minlength=len(names))
        totals[0] += number
        totals[3] += number / (2 if head.kind == "multilabel" else len(head.class_names))
    for questions, consensus in agreed:
        mine = suggested[suggested["head"] == questions.head.name]
        task, label, person = _votes(mine, questions, place)
        spoken = np.zeros(questions.votes.tasks, bool)
        spoken[questions.votes.task] = True
        share, classes = 1 / questions.per_photo, questions.votes.classes
        person, task, label = (each[spoken[task]] for each in (person, task, label))
        logs += vote_evidence(person, consensus.probs[task, label], classes, len(names))
        totals[1] += share * np.bincount(person, minlength=len(names))
        is_gold = questions.prior.known[task] != MISSING
        totals[2] += share * np.bincount(person, is_gold, len(names))
    return people_table(names, logs, totals, params)


def answers_of(
    suggested: pd.DataFrame, assistants: pd.DataFrame, head: Head
) -> Iterator[tuple[str, Any, float]]:
    """Suggestions on a head as answers: photo, label, and how often the language model is right.

    What it states of its own confidence does not count. Who is quarantined is left out.
    """
    usable = assistants[~assistants["quarantined"].astype(bool)]
    accuracy = dict(zip(usable["person"], usable["accuracy"], strict=True))
    mine = suggested[suggested["head"] == head.name]
    # Of a multilabel head an answer is right where all of its attributes are.
    power = len(head.class_names) if head.kind == "multilabel" else 1
    for photo, person, label in zip(mine["photo_id"], mine["person"], mine["label"], strict=True):
        if person in accuracy:
            yield (
                photo,
                tuple(label) if isinstance(label, list) else label,
                accuracy[person] ** power,
            )


def waiting(suggested: pd.DataFrame, photos: pd.DataFrame) -> pd.DataFrame:
    """Photos and heads on which only language models spoke: undecided.

    Args:
        suggested: From `suggestions`.
        photos: Vetted photos of people's opinions.
    """
    keys = suggested[["photo_id", "head"]].drop_duplicates()
    known = pd.MultiIndex.from_frame(photos[["photo_id", "head"]])
    alone = keys[~pd.MultiIndex.from_frame(keys).isin(known)]
    facts = {"label": None, "confidence": np.nan, "opinions": 0}
    return alone.assign(**facts, status="undecided", reason=SUGGESTED)


def _votes(
    mine: pd.DataFrame, questions: Questions, place: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Task, label and language model of each suggestion on a photo of these questions, (V,)."""
    mine = mine[mine["photo_id"].isin(questions.photos)]
    photo = np.searchsorted(questions.photos, mine["photo_id"].to_numpy(object).astype(str))
    person = mine["person"].map(place).to_numpy(np.int64)
    names = questions.head.class_names
    if questions.head.kind != "multilabel":
        return photo, np.array([names.index(label) for label in mine["label"]], np.int64), person
    count = len(names)
    label = np.array([[name in labels for name in names] for labels in mine["label"]], np.int64)
    task = (photo[:, None] * count + np.arange(count)).ravel()
    return task, label.ravel(), np.repeat(person, count)


def _fits(label: Label, head: Head) -> bool:
    if head.kind != "multilabel":
        return isinstance(label, str) and label in head.class_names
    if not isinstance(label, list | tuple | np.ndarray):
        return False
    return set(label) <= set(head.class_names)
