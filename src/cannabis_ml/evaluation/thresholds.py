"""Thresholds of attributes, chosen for the highest F1."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix_at_thresholds

from cannabis_ml.evaluation.predictions import paired
from cannabis_ml.evaluation.scores import Thresholds
from cannabis_ml.inference.decision import THRESHOLD
from cannabis_ml.taxonomy import Taxonomy

RESOLUTION = 1e-4
"""Thresholds part no probabilities that are nearer than this. Runtimes round differently, by about
1e-6: what a client decides must not hang on that."""


def choose_thresholds(
    predictions: pd.DataFrame, photos: pd.DataFrame, taxonomy: Taxonomy, fewest: int = 5
) -> Thresholds:
    """Choose the threshold of every attribute by its F1.

    Choose on photos that are not scored afterwards. Of thresholds with the same F1 the one
    nearest to `THRESHOLD` is taken. None parts probabilities nearer than `RESOLUTION`.

    Args:
        predictions: As for `metrics.score`, of the validation split.
        photos: As for `metrics.score`.
        taxonomy: Gives the heads.
        fewest: Photos that must have the attribute, and as many that must lack it; with fewer the
            best threshold is an accident, and it stays at `THRESHOLD`.

    Returns:
        Per multilabel head and class a probability.
    """
    chosen = {}
    for head in taxonomy.heads:
        if head.kind != "multilabel":
            continue
        probs, truth = paired(predictions, photos, head)
        chosen[head.name] = {
            name: _best_threshold(probs[:, k], truth[:, k], fewest)
            for k, name in enumerate(head.class_names)
        }
    return chosen


def _best_threshold(probs: np.ndarray, truth: np.ndarray, fewest: int) -> float:
    known = ~np.isnan(truth)
    probs, there = probs[known], truth[known] == 1
    if min(there.sum(), (~there).sum()) < max(1, fewest):
        return THRESHOLD
    _, fp, fn, tp, values = (x[::-1] for x in confusion_matrix_at_thresholds(there, probs))
    # From just above the next lower value up to a value, every threshold predicts the same.
    lower = np.concatenate([[0.0], values[:-1]])
    candidates = (lower + values) / 2
    candidates[(lower < THRESHOLD) & (values >= THRESHOLD)] = THRESHOLD
    f1 = 2 * tp / (2 * tp + fp + fn)
    apart = values - lower >= RESOLUTION
    if not apart.any():
        return THRESHOLD
    best = candidates[apart & (f1 == f1[apart].max())]
    return float(best[np.abs(best - THRESHOLD).argmin()])
