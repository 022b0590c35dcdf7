"""How good predictions are, per head: small functions, NumPy and scikit-learn, no PyTorch.

Unknown labels count nowhere. What cannot be said (no label, no positive, one class only) is None,
never NaN and never a division by zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

THRESHOLD = 0.5
"""A multilabel class is said to be there from this probability on."""


def score(predictions: pd.DataFrame, photos: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Any]:
    """Every metric of every head.

    Args:
        predictions: `photo_id` and per head a column of probabilities, each a list of length K.
        photos: `photo_id` and the label columns; may hold more photos than `predictions`.
        taxonomy: Gives the heads.

    Returns:
        Per head, JSON-able: `n` (photos with a label) and

        - multiclass: `accuracy`, `macro_f1`, `per_class` of precision, recall, f1, support
        - ordinal: these, `quadratic_weighted_kappa` and `mean_absolute_error` in classes
        - multilabel: `mean_average_precision` over the attributes seen both present and absent,
          `macro_f1`, `accuracy` over known labels, `per_class` as above and average_precision

        `macro_f1` is the mean over the classes that occur among labels or predictions: a class
        that is neither there nor claimed says nothing, one that is claimed in vain scores 0.

    Raises:
        KeyError: If a predicted photo is not among `photos`.
    """
    return {
        head.name: (_score_attributes if head.kind == "multilabel" else _score_classes)(
            head, *_paired(predictions, photos, head)
        )
        for head in taxonomy.heads
    }


def confusion(predictions: pd.DataFrame, photos: pd.DataFrame, head: Head) -> np.ndarray:
    """Counts of photos with a known label.

    Returns:
        Multiclass and ordinal: int64 (K, K), row true class, column predicted class.
        Multilabel: int64 (K, 4), true positives, false positives, false negatives, true negatives.
    """
    probs, truth = _paired(predictions, photos, head)
    classes = len(head.classes)
    if head.kind != "multilabel":
        known = truth != MISSING
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (truth[known], head.answer(probs[known])), 1)
        return counts
    said = probs >= THRESHOLD
    there, absent = truth == 1, truth == 0
    columns = [there & said, absent & said, there & ~said, absent & ~said]
    return np.stack([column.sum(axis=0) for column in columns], axis=1).astype(np.int64)


def _paired(
    predictions: pd.DataFrame, photos: pd.DataFrame, head: Head
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and encoded labels of the same photos."""
    labels = photos.drop_duplicates("photo_id").set_index("photo_id")[head.columns]
    labels = labels.loc[predictions["photo_id"]]
    truth = Taxonomy.model_construct(heads=[head]).encode(labels)[head.name]
    if len(predictions) == 0:
        return np.zeros((0, len(head.classes))), truth
    return np.stack(predictions[head.name].to_list()).astype(np.float64), truth


def _score_classes(head: Head, probs: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    known = truth != MISSING
    truth, said = truth[known], head.answer(probs[known])
    every = np.arange(len(head.classes))
    result: dict[str, Any] = {"n": int(known.sum())}
    if result["n"] == 0:
        absent = ["accuracy", "macro_f1"]
        absent += ["quadratic_weighted_kappa", "mean_absolute_error"] * (head.kind == "ordinal")
        nothing = {"precision": None, "recall": None, "f1": None, "support": 0}
        per_class = {name: dict(nothing) for name in head.class_names}
        return result | dict.fromkeys(absent) | {"per_class": per_class}

    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, said, labels=every, zero_division=np.nan
    )
    occurring = np.union1d(truth, said)
    result["accuracy"] = _number((truth == said).mean())
    result["macro_f1"] = _number(np.nan_to_num(f1[occurring]).mean())
    if head.kind == "ordinal":
        result["quadratic_weighted_kappa"] = _kappa(truth, said, len(every))
        result["mean_absolute_error"] = _number(np.abs(truth - said).mean())
    result["per_class"] = {
        name: {
            "precision": _number(precision[k]),
            "recall": _number(recall[k]),
            "f1": _number(f1[k]),
            "support": int(support[k]),
        }
        for k, name in enumerate(head.class_names)
    }
    return result


def _kappa(truth: np.ndarray, said: np.ndarray, classes: int) -> float | None:
    """Quadratic weighted kappa (Cohen 1968); None where labels and answers are all one class."""
    if len(np.union1d(truth, said)) == 1:
        return None
    return _number(
        metrics.cohen_kappa_score(truth, said, labels=np.arange(classes), weights="quadratic")
    )


def _score_attributes(head: Head, probs: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    known = ~np.isnan(truth)
    per_class = {
        name: _score_attribute(probs[known[:, k], k], truth[known[:, k], k])
        for k, name in enumerate(head.class_names)
    }
    precisions = [c["average_precision"] for c in per_class.values()]
    f1s = [c["f1"] for c in per_class.values() if c["f1"] is not None]
    right = ((probs >= THRESHOLD) == (truth == 1))[known]
    return {
        "n": int(known.any(axis=1).sum()),
        "mean_average_precision": _mean([p for p in precisions if p is not None]),
        "macro_f1": _mean(f1s),
        "accuracy": _mean(right),
        "per_class": per_class,
    }


def _score_attribute(probs: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    said, there = probs >= THRESHOLD, truth == 1
    hits = int((said & there).sum())
    both = there.any() and not there.all()
    return {
        "precision": _ratio(hits, said.sum()),
        "recall": _ratio(hits, there.sum()),
        "f1": _ratio(2 * hits, said.sum() + there.sum()),
        "support": int(there.sum()),
        "n": len(truth),
        "average_precision": _number(metrics.average_precision_score(there, probs))
        if both
        else None,
    }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
