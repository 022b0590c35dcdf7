"""How good a language model's suggestions are, beside the bundle's tiers on the same photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.assistant.suggesting import Suggestion
from cannabis_ml.evaluation.calibration_error import Events, smooth_ece
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.taxonomy import Head


class Score(BaseModel):
    """Of one annotator on one head; a multilabel head's answer is right where all of it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: int = Field(description="With a label and an answer")
    not_sure: int = Field(description="With a label, on which it was not sure")
    accuracy: float | None = Field(description="Of `photos`")
    low: float | None = Field(description="Lower end of its 95% interval, over groups of photos")
    high: float | None = Field(description="Upper end")
    calibration_error: float | None = Field(description="Smooth ECE of the stated confidence")
    mean_confidence: float | None
    agreement: dict[str, float] = Field(description="By tier: share of photos answered alike")


class AssistantEvaluation(BaseModel):
    """Of a language model and all tiers on the same photos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    prompt: str
    photos: int
    usd_per_photo: float = Field(description="At the configured prices, whenever it was paid")
    heads: dict[str, dict[str, Score]] = Field(description="By head and annotator")


Answers = Mapping[str, Sequence[tuple[object, float]]]
"""By head: of each photo the answer (None where not sure) and its confidence."""


def answers_of(suggestions: Sequence[Suggestion | None], heads: Sequence[Head]) -> Answers:
    """Suggestions as answers; photos without one are not sure."""
    return {
        head.name: [
            (None, 0.0)
            if one is None
            else (one.heads[head.name].label, one.heads[head.name].confidence)
            for one in suggestions
        ]
        for head in heads
    }


def score_heads(
    heads: Sequence[Head],
    labels: Mapping[str, Sequence[object]],
    groups: Sequence[object],
    answers: Mapping[str, Answers],
) -> dict[str, dict[str, Score]]:
    """Accuracy, calibration and agreement of every annotator on every head.

    Args:
        heads: That were asked for.
        labels: By head, of each photo: a class, a list of classes, or None where unknown.
        groups: Of each photo: photos of one group show the same.
        answers: By annotator.

    Returns:
        By head and annotator; heads without a label are left out.
    """
    found: dict[str, dict[str, Score]] = {}
    for head in heads:
        known = [place for place, label in enumerate(labels[head.name]) if label is not None]
        if known:
            own = {name: given[head.name] for name, given in answers.items()}
            found[head.name] = {
                name: _score(name, own, labels[head.name], known, groups) for name in own
            }
    return found


def _score(
    name: str,
    answers: Mapping[str, Sequence[tuple[object, float]]],
    labels: Sequence[object],
    known: Sequence[int],
    groups: Sequence[object],
) -> Score:
    mine = answers[name]
    sure = [place for place in known if mine[place][0] is not None]
    if not sure:
        none = dict.fromkeys(("accuracy", "low", "high", "calibration_error", "mean_confidence"))
        return Score(photos=0, not_sure=len(known), agreement={}, **none)
    right = np.array([_same(mine[place][0], labels[place]) for place in sure])
    confidence = np.array([mine[place][1] for place in sure])
    of_group = np.unique([str(groups[place]) for place in sure], return_inverse=True)[1]
    interval = by_groups(right, of_group)
    agreement = {}
    for other, theirs in answers.items():
        both = [place for place in sure if theirs[place][0] is not None]
        if other != name and both:
            alike = [_same(mine[place][0], theirs[place][0]) for place in both]
            agreement[other] = float(np.mean(alike))
    return Score(
        photos=len(sure),
        not_sure=len(known) - len(sure),
        accuracy=float(right.mean()),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        calibration_error=smooth_ece(Events.of(confidence, right, of_group)),
        mean_confidence=float(confidence.mean()),
        agreement=agreement,
    )


def _same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return set(one) == set(other)
    return one == other
