"""How often prediction sets hold the truth, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.taxonomy import MISSING, Taxonomy


class ClassCoverage(Record):
    """Coverage of the prediction sets of one class."""

    n: int
    coverage: float | None


class SetCoverage(Record):
    """Coverage and size of the prediction sets of one head."""

    n: int = Field(description="Labels; of a multilabel head, of attributes")
    groups: int
    coverage: float | None = Field(description="Share of sets that hold the truth")
    coverage_interval: Interval | None
    mean_size: float | None = Field(description="Classes in a set; of an attribute 1 or 2 states")
    single: float | None = Field(description="Share of sets with one class")
    per_class: dict[str, ClassCoverage]


def score_sets(
    sets: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray,
    taxonomy: Taxonomy,
    confidence: float = 0.95,
) -> dict[str, SetCoverage]:
    """Coverage and size per head, on photos with a label.

    Args:
        sets: As from `inference.prediction_sets.PredictionSets.apply`.
        labels: As from `Taxonomy.encode`.
        groups: Of each photo a number or name, (N,).
        taxonomy: Gives the classes.
        confidence: Of the intervals.

    Returns:
        Per head; coverage and sizes are None without a label.
    """
    scores_by_head = {}
    for name, inside in sets.items():
        truth, names = np.asarray(labels[name]), taxonomy[name].class_names
        if inside.ndim == 3:
            known = ~np.isnan(truth)
            which = np.broadcast_to(np.asarray(groups)[:, None], known.shape)[known]
            column = np.broadcast_to(np.arange(len(names)), known.shape)[known]
            state = np.where(known, truth, 0).astype(np.int64)
            held = np.take_along_axis(inside, state[..., None], axis=2)[..., 0][known]
            sizes = inside.sum(axis=2)[known]
        else:
            known = truth != MISSING
            which, column = np.asarray(groups)[known], truth[known]
            held, sizes = inside[known, column], inside.sum(axis=1)[known]
        scores_by_head[name] = SetCoverage(
            n=len(held),
            groups=len(np.unique(which)),
            coverage=_mean(held),
            coverage_interval=by_groups(held, which, confidence),
            mean_size=_mean(sizes),
            single=_mean(sizes == 1),
            per_class={
                c: ClassCoverage(n=int((column == k).sum()), coverage=_mean(held[column == k]))
                for k, c in enumerate(names)
            },
        )
    return scores_by_head


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
