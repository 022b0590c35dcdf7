"""Conformal quantiles over groups of near-duplicates.

The exchangeable unit is the group: photos of one plant or one burst carry little more than one of
them. With G groups, each photo of a group of m weighs 1 / (m (G + 1)), and what is left,
1 / (G + 1), lies at infinity. Then a photo drawn from a new group lies at or below the quantile
with at least the promised probability (Lee, Barber & Willett 2023, "Distribution-free inference
with hierarchical data"). Where each photo is a group it is the ceil((1 - alpha) (n + 1))-th
smallest score. No photo is thrown away and nothing is drawn at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cannabis_ml.evaluation.groups import group_weights

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Quantile:
    """A conformal quantile.

    Attributes:
        value: At or below which a new photo's score lies with probability 1 - alpha; infinity
            where there are too few groups.
        groups: Groups it rests on.
        photos: Photos it rests on.
    """

    value: float
    groups: int
    photos: int


def conformal_quantile(scores: np.ndarray, groups: np.ndarray, alpha: float) -> Quantile:
    """The smallest seen score that a new photo stays at or below with probability 1 - alpha.

    Args:
        scores: (N,), N may be 0.
        groups: Of each photo a number or name, (N,).
        alpha: How often a new photo may lie above, in (0, 1).

    Raises:
        ValueError: If a score is NaN or `alpha` is not in (0, 1).
    """
    check_alpha(alpha)
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN.")
    weights = group_weights(groups)
    count = round(float(weights.sum()))
    order = np.argsort(scores, kind="stable")
    mass = weights[order].cumsum() / (count + 1)
    reached = np.flatnonzero(mass >= 1 - alpha - _ROUNDING)
    value = float(scores[order[reached[0]]]) if len(reached) else math.inf
    return Quantile(value, count, len(scores))


def one_per_group(groups: np.ndarray, seed: int) -> np.ndarray:
    """One photo of each group, drawn at random: photos that are independent of each other.

    Args:
        groups: Of each photo a number or name, (N,).
        seed: Of the draw.

    Returns:
        Row numbers, rising, int64 (G,).
    """
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(np.asarray(groups)[shuffled], return_index=True)
    return np.sort(shuffled[first])


def fewest_groups(alpha: float) -> int:
    """Below so many groups the quantile is infinite."""
    check_alpha(alpha)
    return math.ceil((1 - alpha) / alpha - _ROUNDING)


def check_alpha(alpha: float) -> None:
    """Refuse a share that is not in (0, 1)."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it lies in (0, 1).")
