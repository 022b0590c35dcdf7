"""Choosing where a head backs off to its parent, by conformal risk control.

An answer at some depth is on a wrong branch where it, or one above it, is wrong. To answer higher
up is never wrong more often, so the least threshold with

    n / (n + 1) · risk + 1 / (n + 1) <= alpha

keeps the expected risk of a new photo at or below alpha (Angelopoulos, Bates et al., ICLR 2024). n
counts groups of near-duplicates, and the risk is the mean over groups of the share wrong in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cannabis_ml.calibration.quantile import check_alpha, fewest_groups
from cannabis_ml.evaluation.groups import group_weights
from cannabis_ml.inference.backoff import UNSURE, BackOff

ALPHA = 0.05


@dataclass(frozen=True)
class FittedBackOff:
    """A threshold and what it does on the photos that it was chosen on.

    Attributes:
        rule: To apply.
        risk: Mean over groups of the share of photos answered on a wrong branch.
        risk_without: The same if the deepest head that has an answer always answered.
        answered: Share of photos by the head that answers; `""` for none.
        because: Why nothing is answered, where that is so.
    """

    rule: BackOff
    risk: float
    risk_without: float
    answered: dict[str, float]
    because: str = ""


def fit_backoff(
    heads: Sequence[str],
    confidence: np.ndarray,
    right: np.ndarray,
    groups: np.ndarray,
    alpha: float = ALPHA,
) -> FittedBackOff:
    """The least confidence that keeps the risk of a wrong branch.

    Args:
        heads: A head, its child, that one's child and so on, L of them.
        confidence: Calibrated, of each head's answer, (N, L); NaN where a head has no answer. Of
            photos with known labels that nothing else was fitted on.
        right: Whether each head's answer is right, bool (N, L).
        groups: Of each photo a number or name, (N,).
        alpha: How often, on average, a new photo may be answered on a wrong branch, in (0, 1).

    Raises:
        ValueError: If shapes differ or there is no photo.
    """
    check_alpha(alpha)
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.shape[1:] != (len(heads),):
        raise ValueError(f"{confidence.shape} and {right.shape} are not photos × {len(heads)}.")
    if not len(right):
        raise ValueError("There is no photo to choose a back-off by.")
    weights = group_weights(groups)
    count = round(float(weights.sum()))
    weights = weights / count
    wrong = ~np.logical_and.accumulate(right, axis=1)
    candidates = np.unique(confidence[~np.isnan(confidence)])

    def rule(threshold: float | None) -> BackOff:
        return BackOff(heads=list(heads), threshold=threshold, alpha=alpha, groups=count)

    def risk(threshold: float | None) -> float:
        depth = rule(threshold).depth(confidence)
        return float(weights @ (wrong[np.arange(len(wrong)), depth] & (depth != UNSURE)))

    def keeps(threshold: float) -> bool:
        return (count * risk(threshold) + 1) / (count + 1) <= alpha

    # The risk never rises with the threshold.
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(candidates[middle]) else (middle + 1, high)
    chosen = rule(float(candidates[low]) if low < len(candidates) else None)
    depth = chosen.depth(confidence)
    because = ""
    if chosen.threshold is None:
        few = fewest_groups(alpha)
        because = (
            f"A risk of {alpha:.0%} cannot be kept with {count} groups of photos: {few} would do."
            if count < few
            else f"Even the surest answers are wrong too often for a risk of {alpha:.0%}."
        )
    return FittedBackOff(
        chosen,
        risk(chosen.threshold),
        risk(float(candidates[0])) if len(candidates) else 0.0,
        {
            name: float(weights @ (depth == level))
            for level, name in [*enumerate(heads), (UNSURE, "")]
        },
        because,
    )
