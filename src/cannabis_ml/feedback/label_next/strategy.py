"""Which query is asked when, in batches without near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cannabis_ml.feedback.label_next.queries import diverse, margins, typical, wavering
from cannabis_ml.feedback.linear_head import fit_head, fit_projection

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
        taken: Rows that are on the list already.
    """

    embeddings: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    classes: int
    taken: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def labelled(self) -> np.ndarray:
        """Rows with a label."""
        return np.flatnonzero(self.labels >= 0)

    def candidates(self) -> np.ndarray:
        """Rows without a label, of groups that have none and no photo on the list either."""
        taken_groups = np.unique(self.groups[np.concatenate([self.labelled, self.taken])])
        return np.flatnonzero((self.labels < 0) & ~np.isin(self.groups, taken_groups))


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
    count = min(count, len(np.unique(pool.groups[free])))
    if count <= 0:
        return np.zeros(0, np.int64)
    chosen = query or choose_query(pool)
    if chosen == "uniform":
        return _first_of_groups(np.random.default_rng(seed).permutation(free), pool.groups)[:count]
    projection = fit_projection(pool.embeddings, seed=seed)
    components = projection(pool.embeddings)
    if chosen == "typical":
        known = np.concatenate([pool.labelled, pool.taken])
        return typical(components, pool.groups, known, count, seed)
    labels = pool.labels[pool.labelled]
    head = fit_head(components[pool.labelled], labels, pool.classes)
    unsure = margins(head.probs(components[free]))
    if chosen == "margin":
        near = _first_of_groups(free[np.argsort(unsure, kind="stable")], pool.groups)
        near = near[: POOL_PER_PHOTO * count]
        weights = 1.0 - margins(head.probs(components[near])) + 1e-9
    else:
        changed = wavering(pool.embeddings[free], projection, head, seed) > 0.5
        # Filled up with those of the smallest margin, where too few waver.
        order = free[np.lexsort((unsure, ~changed))]
        near = _first_of_groups(order, pool.groups)
        near = near[: max(count, int(np.isin(near, free[changed]).sum()))]
        weights = np.ones(len(near))
    return near[diverse(components[near], weights, count, seed)]


def choose_query(pool: Pool) -> Query:
    """Typical photos up to `TYPICAL_UP_TO` labelled ones per class, margin afterwards."""
    few = TYPICAL_UP_TO * max(1, pool.classes)
    return "typical" if len(pool.labelled) < few else "margin"


def _first_of_groups(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Of each group the row that comes first."""
    _, first = np.unique(groups[rows], return_index=True)
    return rows[np.sort(first)]
