"""Two models on photos without labels: how often they agree, and where they do not."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.comparison.answers import STRANGER, ModelAnswers, same_classes
from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.taxonomy import Kind


class Flip(Record):
    """A photo that the challenger answers otherwise than the champion."""

    photo: str = Field(description="Its id or path")
    head: str
    champion: str = Field(description="The class; of a multilabel head the attributes")
    challenger: str
    champion_confidence: float | None = Field(description="Calibrated; None without an answer")
    challenger_confidence: float | None


class HeadAgreement(Record):
    """How often two models answer one head alike, on photos without labels."""

    kind: Kind
    answers: int = Field(
        description="Photos, times attributes of a multilabel head; without those that the"
        " challenger answers with a class that the champion does not know"
    )
    agreement: float | None = Field(description="Share that is answered alike")
    agreement_interval: Interval | None = Field(description="95%, photos taken as independent")
    to_new_classes: int = Field(description="Answers with a class that is new")
    champion_confidence: float = Field(description="Mean")
    challenger_confidence: float = Field(description="Mean")
    changes: tuple[float, float, float] = Field(
        description="5th, 50th and 95th percentile of the change of a photo's confidence"
    )


class UnlabeledComparison(Record):
    """Two models on the same photos, whose labels are not looked at."""

    photos: int
    heads: dict[str, HeadAgreement]
    flipped: int = Field(description="Photos with another answer of any head")
    flips: list[Flip] = Field(description="The surest first, by the lower of both confidences")


def compare_unlabeled(
    champion: ModelAnswers, challenger: ModelAnswers, photos: list[str], most: int = 60
) -> UnlabeledComparison:
    """Compare two models' answers with each other.

    Args:
        champion: Its answers for N photos.
        challenger: The other's for the same photos.
        photos: Ids or paths, N of them.
        most: How many flips are listed.
    """
    flips: list[Flip] = []
    flipped = np.zeros(len(photos), bool)
    heads = {}
    for head in challenger.taxonomy.heads:
        if champion.head(head.name) is None or not photos:
            continue
        agreement, differs = _agreement(champion, challenger, head.name)
        heads[head.name] = agreement
        flipped |= differs
        flips += _flips(champion, challenger, head.name, photos, differs)
    flips.sort(key=_sureness, reverse=True)
    return UnlabeledComparison(
        photos=len(photos), heads=heads, flipped=int(flipped.sum()), flips=flips[:most]
    )


def _agreement(
    champion: ModelAnswers, challenger: ModelAnswers, name: str
) -> tuple[HeadAgreement, np.ndarray]:
    """Of one head; and which photos are answered otherwise."""
    old, new = champion.head(name), challenger.head(name)
    assert old is not None
    assert new is not None
    before, after = champion.decided[name], challenger.decided[name]
    sure, surer = champion.confidence(name), challenger.confidence(name)
    places = same_classes(new, old)
    if after.ndim == 2:
        shared = places != STRANGER
        alike = after[:, shared] == before[:, places[shared]]
        strange = int(after[:, ~shared].sum())
        differs = ~alike.all(axis=1)
        sure, surer = sure[:, places[shared]].mean(axis=1), surer[:, shared].mean(axis=1)
        counted = alike.ravel()
    else:
        mapped = np.append(places, -1)[after]  # -1, MISSING, stays what it is
        is_new = mapped == STRANGER
        differs = mapped != before
        strange = int(is_new.sum())
        counted = ~differs[~is_new]
    changes = (surer - sure)[np.isfinite(surer - sure)]
    ends = np.quantile(changes, [0.05, 0.5, 0.95]) if len(changes) else np.zeros(3)
    agreement = HeadAgreement(
        kind=new.kind,
        answers=len(counted),
        agreement=float(counted.mean()) if len(counted) else None,
        agreement_interval=wilson(int(counted.sum()), len(counted)),
        to_new_classes=strange,
        champion_confidence=_mean(sure),
        challenger_confidence=_mean(surer),
        changes=(float(ends[0]), float(ends[1]), float(ends[2])),
    )
    return agreement, differs


def _flips(
    champion: ModelAnswers,
    challenger: ModelAnswers,
    name: str,
    photos: list[str],
    differs: np.ndarray,
) -> list[Flip]:
    before, after = champion.names(name), challenger.names(name)
    sure, surer = (_per_photo(model.confidence(name)) for model in (champion, challenger))
    return [
        Flip(
            photo=photos[row],
            head=name,
            champion=before[row],
            challenger=after[row],
            champion_confidence=_finite(sure[row]),
            challenger_confidence=_finite(surer[row]),
        )
        for row in np.flatnonzero(differs)
    ]


def _per_photo(confidence: np.ndarray) -> np.ndarray:
    return confidence if confidence.ndim == 1 else confidence.mean(axis=1)


def _sureness(flip: Flip) -> float:
    return min(flip.champion_confidence or 0.0, flip.challenger_confidence or 0.0)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
