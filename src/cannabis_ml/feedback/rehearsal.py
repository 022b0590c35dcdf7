"""Which old photos are shown again while a new class is learned, so that old ones are kept."""

from __future__ import annotations

import numpy as np


def rehearsal_rows(
    labels: np.ndarray, old: np.ndarray, new: np.ndarray, most: int = 1000, seed: int = 0
) -> np.ndarray:
    """New photos and a balanced choice of old ones.

    Every old class gets the same number of photos as far as it has them; what rare classes leave is
    shared out among the others.

    Args:
        labels: Class number of every row, (N,); below 0 where there is none.
        old: Rows of old photos.
        new: Rows of new photos; all of them are taken.
        most: Old photos, at most.
        seed: Of the choice within a class.

    Returns:
        Rows, ascending, each once.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(np.asarray(old, np.int64))
    numbers = np.asarray(labels)[shuffled]
    order = np.argsort(numbers, kind="stable")
    shuffled, numbers = shuffled[order], numbers[order]
    first = np.searchsorted(numbers, numbers)  # of each photo, where its class begins
    turn = np.arange(len(numbers)) - first
    chosen = shuffled[np.argsort(turn, kind="stable")][:most]  # one of each class, then the next
    return np.unique(np.concatenate([chosen, np.asarray(new, np.int64)]))
