"""The tasks of one head: who chose what on which photo, and what was known before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.feedback.vetting.archetypes import Archetypes, one_coin, ordered_probit, with_none
from cannabis_ml.feedback.vetting.consensus import Prior
from cannabis_ml.feedback.vetting.crowd import Votes
from cannabis_ml.feedback.vetting.params import ConsensusParams
from cannabis_ml.feedback.vetting.rules import NONE_OF_THESE
from cannabis_ml.taxonomy import MISSING, Head

NONE_SHARE = 0.02
"""Probability, in the model's name, that a photo has none of the classes it knows."""

BESIDE = 0.5
"""What a grade one further from the answered one gets of its neighbor's probability."""


@dataclass(frozen=True)
class Questions:
    """The tasks of one head, and the votes on them.

    A multiclass or ordinal head has one task per photo. A multilabel head has one per photo and
    class, with the classes absent (0) and present (1).

    Attributes:
        head: Their head.
        photos: Photo ids, sorted, (P,).
        people: Pseudonyms, sorted, (J,).
        per_photo: Tasks per photo, 1 or the number of attributes; task // per_photo is the photo.
        votes: Sorted by task and person.
        opinion: int64 (V,): row of each vote's opinion in the table of judged opinions.
        prior: Of the tasks.
        archetypes: Of people, for the head's classes, and none of these where anybody chose that.
    """

    head: Head
    photos: np.ndarray
    people: np.ndarray
    per_photo: int
    votes: Votes
    opinion: np.ndarray
    prior: Prior
    archetypes: Archetypes

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of a task."""
        if self.head.kind == "multilabel":
            return ["absent", "present"]
        return [*self.head.class_names, NONE_OF_THESE][: self.votes.classes]


def ask(
    judged: pd.DataFrame,
    head: Head,
    known: pd.DataFrame | None,
    model: pd.DataFrame,
    params: ConsensusParams,
) -> Questions:
    """Collect the tasks of a head.

    Args:
        judged: From `judge_opinions`; rows of this head that count make votes.
        head: The head.
        known: Labels that are known: photo_id, head and label; None for none.
        model: Calibrated probabilities, index photo_id and a column per class.
        params: Whether grades are compared as grades.
    """
    rows = np.flatnonzero((judged["head"] == head.name) & (judged["status"] == "counted"))
    mine = judged.iloc[rows]
    photos, photo = np.unique(mine["photo_id"].to_numpy(object).astype(str), return_inverse=True)
    people, person = np.unique(mine["person"].to_numpy(object).astype(str), return_inverse=True)
    many = head.kind == "multilabel"
    has_none = not many and bool((mine["choice"].map(_text) == NONE_OF_THESE).any())
    per_photo = len(head.class_names) if many else 1
    names = [*head.class_names, NONE_OF_THESE]
    weight = mine["weight"].to_numpy(np.float64)
    if many:
        label = _present(mine["choice"], head).ravel()
        task = (photo[:, None] * per_photo + np.arange(per_photo)).ravel()
        person, rows, weight = (np.repeat(a, per_photo) for a in (person, rows, weight))
    else:
        label = pd.Categorical(mine["choice"], categories=names).codes.astype(np.int64)
        task = photo
    order = np.lexsort((person, task))
    classes = 2 if many else len(head.class_names) + has_none
    sizes = (len(photos) * per_photo, len(people), classes)
    votes = Votes(task[order], person[order], label[order], weight[order], *sizes)
    prior = Prior(
        _model_probs(model.reindex(photos), head, has_none),
        _known_labels(known, head, photos),
        np.tile(np.arange(per_photo), len(photos)),
    )
    is_graded = head.kind == "ordinal" and params.ordinal
    archetypes = (ordered_probit if is_graded else one_coin)(classes - has_none)
    archetypes = with_none(archetypes) if has_none else archetypes
    return Questions(head, photos, people, per_photo, votes, rows[order], prior, archetypes)


def model_table(
    answers: Iterable[tuple[str, Any, float]], probs: pd.DataFrame | None, head: Head
) -> pd.DataFrame:
    """Calibrated probabilities of a head, of what was answered and how sure.

    Several answers to one photo, of tiers or bundles, speak with one voice, their mean: they
    learnt from the same photos.

    Args:
        answers: Photo, label and confidence that the label is right; a multilabel head's, that
            all of its attributes are.
        probs: All probabilities where they are known, index photo_id and a column per class.
        head: The head.

    Returns:
        Index photo_id, a column per class.
    """
    given = list(answers)
    photos = [photo for photo, _, _ in given]
    rows = _spread([label for _, label, _ in given], np.array([c for *_, c in given]), head)
    table = pd.DataFrame(rows, index=pd.Index(photos, dtype=object), columns=head.class_names)
    table = table.groupby(level=0, sort=True).mean()
    if probs is None:
        return table
    full = probs.reindex(columns=head.class_names).dropna()
    full = full.groupby(level=0, sort=True).mean()
    return pd.concat([full, table[~table.index.isin(full.index)]])


def _spread(labels: list[Any], confidence: np.ndarray, head: Head) -> np.ndarray:
    """Probabilities (N, K) of which only those of the answered classes are known.

    Rows are NaN where the answer is not one of this head, such as one of an older taxonomy.
    """
    k = len(head.class_names)
    if not labels:
        return np.zeros((0, k))
    confidence = confidence[:, None]
    if head.kind == "multilabel":
        each = confidence ** (1 / k)
        fits = np.array([isinstance(label, list | tuple) for label in labels])
        named = pd.Series([label if fit else () for label, fit in zip(labels, fits, strict=True)])
        rows = np.where(_present(named, head) == 1, each, 1 - each)
        return np.where(fits[:, None], rows, np.nan)
    place = {name: i for i, name in enumerate(head.class_names)}
    code = [place.get(label, MISSING) if isinstance(label, str) else MISSING for label in labels]
    apart = np.abs(np.arange(k) - np.array(code)[:, None])
    rest = BESIDE**apart if head.kind == "ordinal" else np.ones((len(code), k))
    rest = np.where(apart == 0, 0, rest)
    rest *= (1 - confidence) / rest.sum(axis=1, keepdims=True)
    rows = np.where(apart == 0, confidence, rest)
    return np.where(np.array(code)[:, None] == MISSING, np.nan, rows)


def _present(choices: pd.Series, head: Head) -> np.ndarray:
    """Whether each attribute is there, int64 (N, A)."""
    place = {name: i for i, name in enumerate(head.class_names)}
    there = np.zeros((len(choices), len(place)), np.int64)
    for row, names in enumerate(choices):
        there[row, [place[name] for name in names if name in place]] = 1
    return there


def _model_probs(table: pd.DataFrame, head: Head, has_none: bool) -> np.ndarray:
    probs = table.reindex(columns=head.class_names).to_numpy(np.float64)
    if head.kind == "multilabel":
        flat = probs.ravel()
        return np.stack([1 - flat, flat], axis=1)
    if not has_none:
        return probs
    none = np.full((len(probs), 1), NONE_SHARE)
    return np.concatenate([probs * (1 - NONE_SHARE), none], axis=1)


def _known_labels(known: pd.DataFrame | None, head: Head, photos: np.ndarray) -> np.ndarray:
    per_photo = len(head.class_names) if head.kind == "multilabel" else 1
    codes = np.full((len(photos), per_photo), MISSING)
    if known is None:
        return codes.ravel()
    mine = known[(known["head"] == head.name) & known["photo_id"].isin(photos)]
    mine = mine.drop_duplicates("photo_id", keep="last")
    rows = np.searchsorted(photos, mine["photo_id"].to_numpy(object).astype(str))
    if head.kind == "multilabel":
        codes[rows] = _present(mine["label"], head)
    else:
        codes[rows, 0] = pd.Categorical(mine["label"], categories=head.class_names).codes
    return codes.ravel()


def _text(choice: Any) -> str:
    return choice if isinstance(choice, str) else ""
