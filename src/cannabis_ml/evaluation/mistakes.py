"""Where a model goes wrong: its worst classes, and the photos it is most sure of and wrong on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.predictions import Rule, decide, paired
from cannabis_ml.evaluation.scores import (
    AttributeScores,
    ClassScores,
    ConfusedClass,
    WrongAttribute,
)
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

NAMED = 10
"""Classes that a sentence names before it counts the rest."""


def confused_classes(
    per_class: Mapping[str, ClassScores], counts: np.ndarray, limit: float
) -> list[ConfusedClass]:
    """Classes of a multiclass or ordinal head that go wrong more often than `limit`, worst first.

    Args:
        per_class: Their scores, in class order.
        counts: As from `metrics.confusion`, (K, K).
        limit: Largest `error` that is fine, in [0, 1).
    """
    names = list(per_class)
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    above_limit = [
        ConfusedClass(
            name=name,
            error=scores.error,
            support=scores.support,
            mostly_taken_for=names[int(wrong[row].argmax())],
        )
        for row, (name, scores) in enumerate(per_class.items())
        if scores.error is not None and scores.error > limit
    ]
    return sorted(above_limit, key=_worst_first)


def wrong_attributes(
    per_class: Mapping[str, AttributeScores], limit: float
) -> list[WrongAttribute]:
    """Attributes that go wrong more often than `limit`, worst first.

    Args:
        per_class: Their scores.
        limit: Largest `error` that is fine, in [0, 1).
    """
    above_limit = [
        WrongAttribute(
            name=name,
            error=scores.error,
            support=scores.support,
            missed=None if scores.recall is None else 1 - scores.recall,
            falsely_claimed=None if scores.specificity is None else 1 - scores.specificity,
        )
        for name, scores in per_class.items()
        if scores.error is not None and scores.error > limit
    ]
    return sorted(above_limit, key=_worst_first)


def in_words(worst: Sequence[ConfusedClass | WrongAttribute], limit: float) -> str:
    """Name the worst classes in a sentence: "error above 20% on: …"."""
    if not worst:
        return f"no class with an error above {limit:.0%}"
    named = [one.in_words() for one in worst[:NAMED]]
    if len(worst) > NAMED:
        named.append(f"and {len(worst) - NAMED} more")
    return f"error above {limit:.0%} on: " + ", ".join(named)


def confident_mistakes(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    head: Head,
    taxonomy: Taxonomy,
    rule: Rule | None = None,
) -> pd.DataFrame:
    """Wrong predictions of one head, the most confident first.

    Args:
        predictions: As for `metrics.score`.
        photos: As for `metrics.score`.
        head: Which head.
        taxonomy: All heads: those that imply each other are decided together.
        rule: As for `metrics.score`.

    Returns:
        `photo_id`, `predicted` and `true` (class names; of an attribute `no …` where it is
        absent), `probability` of what was predicted, `probability_of_true`. A photo stands there
        once per wrong attribute.
    """
    probs, truth = paired(predictions, photos, head)
    decided = decide(predictions, taxonomy, rule)[head.name]
    names = np.array(head.class_names, dtype=object)
    if head.kind == "multilabel":
        rows, which = np.nonzero((decided != (truth == 1)) & ~np.isnan(truth))
        claimed = decided[rows, which]
        absent = "no " + names[which]
        predicted = np.where(claimed, names[which], absent)
        true = np.where(claimed, absent, names[which])
        probability = np.where(claimed, probs[rows, which], 1 - probs[rows, which])
        of_true = 1 - probability
    else:
        rows = np.flatnonzero((truth != MISSING) & (decided != MISSING) & (decided != truth))
        predicted, true = names[decided[rows]], names[truth[rows]]
        probability, of_true = probs[rows, decided[rows]], probs[rows, truth[rows]]
    table = pd.DataFrame(
        {
            "photo_id": predictions["photo_id"].to_numpy()[rows],
            "predicted": predicted,
            "true": true,
            "probability": probability,
            "probability_of_true": of_true,
        }
    )
    return table.sort_values(["probability", "photo_id"], ascending=[False, True], kind="stable")


def _worst_first(worst: ConfusedClass | WrongAttribute) -> tuple[float, int]:
    return -worst.error, -worst.support
