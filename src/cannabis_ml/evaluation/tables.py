"""Scores as tables: class by class, and of several models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from cannabis_ml.evaluation.scores import (
    ClassScores,
    Evaluation,
    HeadScores,
    HierarchyScores,
    Interval,
)

Scores = HeadScores | HierarchyScores | ClassScores
"""What has metrics by name."""

HEAD_METRICS = {
    "accuracy": "higher",
    "accuracy_per_group": "higher",
    "balanced_accuracy": "higher",
    "macro_f1": "higher",
    "quadratic_weighted_kappa": "higher",
    "mean_absolute_error": "lower",
    "mean_average_precision": "higher",
}
"""Metrics of a head by which models are compared, and which way is better."""

HIERARCHY_METRICS = {
    "joint_accuracy": "higher",
    "joint_accuracy_per_group": "higher",
    "parent_accuracy": "higher",
    "impossible_pairs": "lower",
}
"""Metrics of a head and its parent by which models are compared, and which way is better."""


def class_table(heads: Mapping[str, HeadScores]) -> pd.DataFrame:
    """Put the scores of every class in one table.

    Args:
        heads: Scores by head.

    Returns:
        A row per head and class, a column per score; `x_interval` becomes `x_low` and `x_high`.
    """
    rows = []
    for head, scores in heads.items():
        for name, values in scores.per_class.items():
            row: dict[str, object] = {"head": head, "class": name}
            for key, value in values:
                if key.endswith("_interval"):
                    measure = key.removesuffix("_interval")
                    row[f"{measure}_low"], row[f"{measure}_high"] = value or (None, None)
                else:
                    row[key] = value
            rows.append(row)
    return pd.DataFrame(rows)


def compare(evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Put evaluations of several models in one table.

    Args:
        evaluations: By name of the model.

    Returns:
        A row per head and metric that any of them has: head, metric, better (`higher` or
        `lower`), photos, groups that these fall into, and per model its value and, where there is
        one, the ends of its interval (`<model>_low`, `<model>_high`).
    """
    heads = {model: evaluation.heads for model, evaluation in evaluations.items()}
    hierarchies = {model: evaluation.hierarchy for model, evaluation in evaluations.items()}
    rows = [*_rows(heads, HEAD_METRICS), *_rows(hierarchies, HIERARCHY_METRICS)]
    return pd.DataFrame(rows)


def _rows(
    models: Mapping[str, Mapping[str, HeadScores] | Mapping[str, HierarchyScores]],
    metrics: Mapping[str, str],
) -> Iterator[dict[str, object]]:
    heads = dict.fromkeys(head for scores in models.values() for head in scores)
    for head in heads:
        of_head = {model: scores.get(head) for model, scores in models.items()}
        photos = max(scores.n for scores in of_head.values() if scores)
        groups = max(scores.groups for scores in of_head.values() if scores)
        for metric, better in metrics.items():
            values = {model: value_of(scores, metric) for model, scores in of_head.items()}
            if all(value is None for value in values.values()):
                continue
            if metric.endswith("_per_group") and groups == photos:
                continue  # the same as per photo
            row: dict[str, object] = {"head": head, "metric": metric, "better": better}
            row |= {"photos": photos, "groups": groups}
            for model, value in values.items():
                low, high = interval_of(of_head[model], metric) or (None, None)
                row |= {model: value, f"{model}_low": low, f"{model}_high": high}
            yield row


def value_of(scores: Scores | None, metric: str) -> float | None:
    """A metric by name; None where this kind of head has no such metric."""
    value: float | None = getattr(scores, metric, None)
    return value


def interval_of(scores: Scores | None, metric: str) -> Interval | None:
    """The interval of a metric by name; None where there is none."""
    ends: Interval | None = getattr(scores, f"{metric}_interval", None)
    return ends
