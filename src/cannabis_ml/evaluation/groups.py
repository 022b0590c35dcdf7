"""Photos of one group, such as near-duplicates, are right or wrong together and count once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def group_weights(groups: np.ndarray) -> np.ndarray:
    """One over the size of each photo's group, float64 (N,); they sum to the number of groups."""
    which, sizes = _sizes(groups)
    return 1.0 / sizes[which]


def group_shares(groups: np.ndarray) -> np.ndarray:
    """As `group_weights`, but they sum to 1."""
    which, sizes = _sizes(groups)
    return 1.0 / (sizes[which] * len(sizes))


class Bootstrap(NamedTuple):
    """How bootstrap samples of groups are drawn.

    Attributes:
        repeats: How many samples.
        seed: Of the draws.
    """

    repeats: int = 1000
    seed: int = 0


def group_samples(groups: np.ndarray, repeats: int, seed: int) -> Sequence[np.ndarray]:
    """Bootstrap samples of whole groups.

    Args:
        groups: Of each photo a number or name, (N,).
        repeats: How many samples.
        seed: Of the draws.

    Returns:
        Row numbers of each sample: as many groups as there are, drawn with replacement, with all
        their photos.
    """
    _, which = np.unique(groups, return_inverse=True)
    rows = np.split(np.argsort(which, kind="stable"), np.bincount(which).cumsum()[:-1])
    random = np.random.default_rng(seed)
    draws = random.integers(len(rows), size=(repeats, len(rows)))
    return [np.concatenate([rows[g] for g in draw]) for draw in draws]


def percentile_interval(values: np.ndarray) -> list[float]:
    """The middle 95% of values, such as those of bootstrap samples."""
    return [float(end) for end in np.quantile(values, [0.025, 0.975])]


def _sizes(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each photo the number of its group, and the size of each group."""
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return which.reshape(-1), sizes
