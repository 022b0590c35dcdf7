"""Metrics of predictions, per head.

Unknown labels count nowhere. What cannot be computed (no label, no positive, one class only) is
None, never NaN and never a division by zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import metrics

from cannabis_ml.evaluation.intervals import by_groups, f1_by_groups, wilson
from cannabis_ml.evaluation.mistakes import confused_classes, in_words, wrong_attributes
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.predictions import (
    Rule,
    alone,
    decide,
    decision,
    groups_of,
    paired,
)
from cannabis_ml.evaluation.scores import (
    AttributeScores,
    ClassScores,
    Evaluation,
    HeadScores,
    HierarchyScores,
    MulticlassScores,
    MultilabelScores,
    OrdinalScores,
)
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

_REPORTS = ReportParams()


def evaluate(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    rule: Rule | None = None,
    reports: ReportParams = _REPORTS,
) -> Evaluation:
    """Score every head and every pair of a head and its parent on the test split.

    Args:
        predictions: As for `score`, with a column `split`.
        photos: As for `score`.
        taxonomy: Gives the heads.
        rule: As for `score`.
        reports: As for `score`.
    """
    judged = predictions[predictions["split"] == Split.TEST]
    return Evaluation(
        split=Split.TEST,
        photos=len(judged),
        groups=len(np.unique(groups_of(judged, photos))),
        confidence=reports.confidence,
        error_limit=reports.error_limit,
        heads=score(judged, photos, taxonomy, rule, reports),
        hierarchy=score_hierarchy(judged, photos, taxonomy, rule, reports.confidence),
        thresholds=decision(taxonomy, rule).rule.thresholds,
    )


def score(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    rule: Rule | None = None,
    reports: ReportParams = _REPORTS,
) -> dict[str, HeadScores]:
    """Compute every metric of every head.

    Args:
        predictions: `photo_id` and per head a column of probabilities, each a list of length K.
        photos: `photo_id` and the label columns; may hold more photos than `predictions`. Photos
            of one `group` are taken to be right or wrong together; without such a column, or
            where it is empty, each photo is a group of its own.
        taxonomy: Gives the heads.
        rule: How is decided, calibrators included; or thresholds alone, as `choose_thresholds`
            gives them from other photos than these. `THRESHOLD` where none is given.
        reports: Confidence of the intervals, and the error above which a class is named.

    Raises:
        KeyError: If a predicted photo is not among `photos`.
    """
    decided = decide(predictions, taxonomy, rule)
    groups = groups_of(predictions, photos)
    by = decision(taxonomy, rule)
    scores: dict[str, HeadScores] = {}
    for head in taxonomy.heads:
        probs, truth = paired(predictions, photos, head)
        judged = _Judged(head, decided[head.name], truth, groups)
        if head.kind == "multilabel":
            scores[head.name] = _score_attributes(
                judged, probs, by.thresholds(head), reports.confidence, reports.error_limit
            )
        else:
            scores[head.name] = _score_classes(judged, reports.confidence, reports.error_limit)
    return scores


def score_hierarchy(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    rule: Rule | None = None,
    confidence: float = _REPORTS.confidence,
) -> dict[str, HierarchyScores]:
    """Score heads together with their parents.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
        taxonomy: Gives the heads, their parents and what these allow.
        rule: As for `score`.
        confidence: Of the intervals, in (0, 1).

    Returns:
        Per multiclass or ordinal head with a parent its scores.
    """
    decided = decide(predictions, taxonomy, rule)
    groups = groups_of(predictions, photos)
    scores = {}
    for head in taxonomy.heads:
        if head.parent is None or head.kind == "multilabel":
            continue
        parent = taxonomy[head.parent]
        apart, truth = paired(predictions, photos, head)
        parent_apart, parent_truth = paired(predictions, photos, parent)
        known = (truth != MISSING) & (parent_truth != MISSING)
        parent_right = (decided[parent.name] == parent_truth)[known]
        both = (decided[head.name] == truth)[known] & parent_right
        answered = decided[head.name] != MISSING
        possible = decision(taxonomy).possible(head, decided, len(answered))
        possible = possible[np.arange(len(answered)), decided[head.name]]
        allowed = taxonomy.allowed_pairs(head)
        allowed_apart = allowed[parent.answer(parent_apart), head.answer(apart)]
        scores[head.name] = HierarchyScores.model_validate(
            {
                "parent": parent.name,
                "n": len(both),
                "groups": len(np.unique(groups[known])),
                **_share("joint_accuracy", both, groups[known], confidence),
                **_share("parent_accuracy", parent_right, groups[known], confidence),
                "accuracy_where_parent_right": _mean(both[parent_right]),
                "impossible_pairs": _mean(answered & ~possible),
                "impossible_pairs_read_apart": _mean(~allowed_apart),
            }
        )
    return scores


def confusion(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    head: Head,
    rule: Rule | None = None,
    taxonomy: Taxonomy | None = None,
) -> np.ndarray:
    """Count photos with a known label by true and predicted class.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
        head: Which head.
        rule: As for `score`.
        taxonomy: If given, heads that imply each other are decided together, as `decide` does.

    Returns:
        Multiclass and ordinal: int64 (K, K), row true class, column predicted class; photos
        without a prediction stand nowhere. Multilabel: int64 (K, 4), true positives, false
        positives, false negatives, true negatives.
    """
    _, truth = paired(predictions, photos, head)
    predicted = decide(predictions, taxonomy or alone(head), rule)[head.name]
    if head.kind == "multilabel":
        return _count_attributes(predicted, truth)
    return _count_classes(predicted, truth, len(head.classes))


class _Judged(NamedTuple):
    """What was predicted by one head, and what is true."""

    head: Head
    predicted: np.ndarray
    truth: np.ndarray
    groups: np.ndarray


def _score_classes(
    judged: _Judged, confidence: float, error_limit: float
) -> MulticlassScores | OrdinalScores:
    head = judged.head
    known = judged.truth != MISSING
    predicted, truth, groups = (x[known] for x in (judged.predicted, judged.truth, judged.groups))
    counts = _count_classes(predicted, truth, len(head.classes))
    per_class = {}
    for k, name in enumerate(head.class_names):
        of_class = _find(predicted == k, truth == k, groups, confidence)
        of_class["error"] = _mean(predicted[truth == k] != k)
        per_class[name] = ClassScores.model_validate(of_class)
    worst = confused_classes(per_class, counts, error_limit)
    scores = {
        "n": len(truth),
        "groups": len(np.unique(groups)),
        **_share("accuracy", predicted == truth, groups, confidence),
        "balanced_accuracy": _mean_of(scores.recall for scores in per_class.values()),
        "macro_f1": _mean_of(scores.f1 for scores in per_class.values()),
        "confusion": counts.tolist(),
        "per_class": per_class,
        "worst_classes": worst,
        "in_words": in_words(worst, error_limit),
        "unanswered": None if head.parent is None else len(truth) - int(counts.sum()),
    }
    if head.kind == "multiclass":
        return MulticlassScores.model_validate(scores)
    answered = predicted != MISSING
    predicted, truth = predicted[answered], truth[answered]
    scores["quadratic_weighted_kappa"] = _kappa(predicted, truth)
    scores["mean_absolute_error"] = _mean(np.abs(predicted - truth))
    return OrdinalScores.model_validate(scores)


def _score_attributes(
    judged: _Judged,
    probs: np.ndarray,
    thresholds: np.ndarray,
    confidence: float,
    error_limit: float,
) -> MultilabelScores:
    _, predicted, truth, groups = judged
    known = ~np.isnan(truth)
    counts = _count_attributes(predicted, truth)
    per_class = {}
    for k, name in enumerate(judged.head.class_names):
        tp, fp, fn, tn = counts[k].tolist()
        labelled = known[:, k]
        there = truth[labelled, k] == 1
        scores = _find(predicted[labelled, k], there, groups[labelled], confidence)
        scores |= {"n": len(there), "threshold": thresholds[k], "specificity": _ratio(tn, fp + tn)}
        scores["error"] = _mean_of((_ratio(fn, tp + fn), _ratio(fp, fp + tn)))
        scores["average_precision"] = (
            float(metrics.average_precision_score(there, probs[labelled, k]))
            if there.any() and not there.all()
            else None
        )
        per_class[name] = AttributeScores.model_validate(scores)
    # Labels of one photo hang together as photos of one group do.
    of_label = np.broadcast_to(groups[:, None], known.shape)[known]
    right = (predicted == (truth == 1))[known]
    ranked = [scores for scores in per_class.values() if scores.average_precision is not None]
    error = _mean_of(scores.error for scores in ranked)
    worst = wrong_attributes(per_class, error_limit)
    return MultilabelScores.model_validate(
        {
            "n": int(known.any(axis=1).sum()),
            "groups": len(np.unique(of_label)),
            **_share("accuracy", right, of_label, confidence),
            "balanced_accuracy": None if error is None else 1 - error,
            "macro_f1": _mean_of(scores.f1 for scores in per_class.values()),
            "mean_average_precision": _mean_of(scores.average_precision for scores in ranked),
            "confusion": counts.tolist(),
            "per_class": per_class,
            "worst_classes": worst,
            "in_words": in_words(worst, error_limit),
        }
    )


def _count_classes(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    known = (truth != MISSING) & (predicted != MISSING)
    if not known.any():  # which scikit-learn refuses
        return np.zeros((classes, classes), np.int64)
    return metrics.confusion_matrix(truth[known], predicted[known], labels=range(classes))


def _count_attributes(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """By hand: scikit-learn's has no unknown labels."""
    there, absent = truth == 1, truth == 0
    cells = [there & predicted, absent & predicted, there & ~predicted, absent & ~predicted]
    return np.stack([cell.sum(axis=0) for cell in cells], axis=1).astype(np.int64)


def _kappa(predicted: np.ndarray, truth: np.ndarray) -> float | None:
    """Quadratic weighted kappa; None where labels and predictions are all of one class."""
    if len(np.unique([predicted, truth])) < 2:
        return None
    return float(metrics.cohen_kappa_score(truth, predicted, weights="quadratic"))


def _find(
    predicted: np.ndarray, there: np.ndarray, groups: np.ndarray, confidence: float
) -> dict[str, object]:
    """Precision, recall and F1 of one class, from predictions and truth, both bool (N,)."""
    tp, involved = predicted & there, predicted | there
    return {
        "precision": _mean(there[predicted]),
        "precision_interval": by_groups(there[predicted], groups[predicted], confidence),
        "recall": _mean(predicted[there]),
        "recall_interval": by_groups(predicted[there], groups[there], confidence),
        "recall_per_group": _per_group(predicted[there], groups[there]),
        "f1": _ratio(2 * tp.sum(), predicted.sum() + there.sum()),
        "f1_interval": f1_by_groups(tp, involved, groups, confidence),
        "support": int(there.sum()),
        "groups": len(np.unique(groups[there])),
        "predicted": int(predicted.sum()),
    }


def _share(
    name: str, right: np.ndarray, groups: np.ndarray, confidence: float
) -> dict[str, object]:
    """A share of photos, and the mean of its values in each group, with their intervals."""
    per_group = _per_group(right, groups)
    n = len(np.unique(groups))
    return {
        name: _mean(right),
        f"{name}_interval": by_groups(right, groups, confidence),
        f"{name}_per_group": per_group,
        # Nothing between 0 and 1 varies more than what is either: never too narrow for a mean.
        f"{name}_per_group_interval": wilson((per_group or 0.0) * n, n, confidence),
    }


def _per_group(right: np.ndarray, groups: np.ndarray) -> float | None:
    """The mean over groups of the share that is right in each."""
    if not len(groups):
        return None
    which = np.unique(groups, return_inverse=True)[1]
    return float((np.bincount(which, weights=right) / np.bincount(which)).mean())


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _mean_of(values: Iterable[float | None]) -> float | None:
    return _mean([value for value in values if value is not None])
