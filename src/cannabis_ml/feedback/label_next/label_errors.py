"""Suspected label errors: photos whose label a model that never saw them confidently contradicts.

Confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70:1373) as cleanlab does it, on
probabilities out of fold. Folds keep near-duplicates together: copies under one wrong label would
vouch for each other otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def suspected_label_errors(
    labels: np.ndarray, probs: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    """The photos whose label is probably wrong, most suspicious first.

    Confident learning estimates how many labels are wrong; so many photos with the lowest
    probability of their label are suspected. Of cleanlab's filters this was the most precise by
    far where labels were flipped to any class, and about as good as the others where they were
    flipped to the most similar one (docs/feedback.md).

    Args:
        labels: Given, int (N,), in [0, K).
        probs: Out of fold, float64 (N, K); see `out_of_fold_probs`.
        names: Of the K classes.

    Returns:
        `row` (int64), `label` and `suggested` (names), and their probabilities `label_prob` and
        `suggested_prob`.
    """
    from cleanlab.filter import find_label_issues

    rows = np.zeros(0, np.int64)
    if len(np.unique(labels)) > 1:
        # Thresholds per class are means over its photos: classes without any are left out.
        seen = np.unique(labels)
        shares = probs[:, seen] / probs[:, seen].sum(axis=1, keepdims=True)
        rows = np.asarray(
            find_label_issues(
                np.searchsorted(seen, labels),
                shares,
                filter_by="low_self_confidence",
                return_indices_ranked_by="self_confidence",
                n_jobs=1,
            ),
            np.int64,
        )
    others = probs.copy()
    others[np.arange(len(labels)), labels] = -1.0
    likely = others[rows].argmax(axis=1)
    given = probs[rows, labels[rows]]
    best = probs[rows, likely]
    table = pd.DataFrame(
        {
            "row": rows,
            "label": [names[k] for k in labels[rows]],
            "suggested": [names[k] for k in likely],
            "label_prob": given,
            "suggested_prob": best,
        }
    )
    return table.astype({"label": "str", "suggested": "str"})
