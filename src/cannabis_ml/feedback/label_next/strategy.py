"""Which query is asked when, in batches without near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cannabis_ml.feedback.label_next.queries import diverse, margins, typical, wavering
from cannabis_ml.feedback.linear_head import LinearHead, Projection, fit_head, fit_projection

Query = Literal["typical", "dropquery", "margin", "uniform"]

TYPICAL_UP_TO = 1
"""Labelled photos per class, on average, up to which typical photos are asked for."""

POOL_PER_PHOTO = 10
"""Unsure photos per photo of the batch among which margin looks for different ones."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Photos of which some have a label.

    Attributes:
        embeddings: float32 (N, F).
        groups: Number of each photo's group of near-duplicates, int64 (N,).
        labels: int64 (N,); -1 where there is none.
        classes: K; those that are known by now.
    """

    embeddings: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def labelled(self) -> np.ndarray:
        """Rows with a label."""
        return np.flatnonzero(self.labels >= 0)

    def candidates(self) -> np.ndarray:
        """Rows without a label whose group has none either, one of each group."""
        told = np.unique(self.groups[self.labelled])
        free = np.flatnonzero((self.labels < 0) & ~np.isin(self.groups, told))
        _, first = np.unique(self.groups[free], return_index=True)
        return free[np.sort(first)]


def next_batch(pool: Pool, count: int, seed: int, query: Query | None = None) -> np.ndarray:
    """The photos of a pool to label next.

    Args:
        pool: Photos with and without labels.
        count: How many.
        seed: Of k-means and of what is dropped or drawn.
        query: None chooses; see `choose_query`.

    Returns:
        At most `count` rows, those worth most first: no two of one group.
    """
    free = pool.candidates()
    count = min(count, len(free))
    asked = query or choose_query(pool)
    if asked == "uniform":
        return np.random.default_rng(seed).permutation(free)[:count]
    projection = fit_projection(pool.embeddings, seed=seed)
    components = projection(pool.embeddings)
    if asked == "typical":
        rows = np.concatenate([pool.labelled, free])
        chosen = typical(components[rows], np.arange(len(pool.labelled)), count, seed)
        return rows[chosen]
    labels = pool.labels[pool.labelled]
    head = fit_head(components[pool.labelled], labels, pool.classes)
    if asked == "margin":
        return free[_by_margin(components[free], head, count, seed)]
    return free[_by_dropquery(pool.embeddings[free], projection, head, (count, seed))]


def choose_query(pool: Pool) -> Query:
    """Typical photos up to `TYPICAL_UP_TO` labelled ones per class, margin afterwards."""
    few = TYPICAL_UP_TO * max(1, pool.classes)
    return "typical" if len(pool.labelled) < few else "margin"


def _by_margin(components: np.ndarray, head: LinearHead, count: int, seed: int) -> np.ndarray:
    unsure = margins(head.probs(components))
    near = np.argsort(unsure, kind="stable")[: POOL_PER_PHOTO * count]
    return near[diverse(components[near], 1.0 - unsure[near] + 1e-9, count, seed)]


def _by_dropquery(
    embeddings: np.ndarray, projection: Projection, head: LinearHead, count_seed: tuple[int, int]
) -> np.ndarray:
    """Photos whose class changes in most passes; filled up with those of the smallest margin."""
    count, seed = count_seed
    components = projection(embeddings)
    changed = wavering(embeddings, projection, head, seed)
    unsure = margins(head.probs(components))
    order = np.lexsort((unsure, -(changed > 0.5).astype(int)))
    candidates = order[: max(count, int((changed > 0.5).sum()))]
    return candidates[diverse(components[candidates], np.ones(len(candidates)), count, seed)]
