"""Query strategies on frozen embeddings: which photos of a pool teach most.

Early, typical photos teach most and uncertain ones harm; later, those on which a model wavers
(Hacohen, Dekel & Weinshall 2022, arXiv 2202.02794; Gupte et al. 2024, arXiv 2401.14555).
"""

from __future__ import annotations

import numpy as np

from cannabis_ml.feedback.linear_head import LinearHead, Projection

NEIGHBORS = 20
"""Of a photo in its cluster, as in Hacohen et al. 2022, section 3.2.1."""

MAX_CLUSTERS = 500
"""As there; more are smaller than `NEIGHBORS`."""

DROPPED = 0.75
"""Share of features that DropQuery sets to 0 (Gupte et al. 2024, section 4)."""

PASSES = 3
"""Times that features are dropped, as there."""


def typical(
    components: np.ndarray, groups: np.ndarray, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """TypiClust: the most typical photos of clusters that have no labelled photo yet.

    K-means into as many clusters as there will be labelled photos; the largest clusters without a
    label come first. Typicality is one over the mean distance to the nearest photos of the cluster.

    Args:
        components: float64 (N, D) of all photos.
        groups: Of near-duplicates, (N,): of each at most one photo is chosen, and none that has a
            labelled one. All of them count for what is typical.
        labelled: Rows of those with a label.
        count: How many to choose.
        seed: Of k-means.

    Returns:
        At most `count` rows, in order.
    """
    wanted = min(len(labelled) + count, MAX_CLUSTERS, len(components))
    cluster = _clusters(components, wanted, seed)
    has = np.bincount(cluster[labelled], minlength=cluster.max() + 1)
    free = np.setdiff1d(np.arange(len(components)), labelled)
    waiting = {}
    for number in np.unique(cluster[free]):
        rows = free[cluster[free] == number]
        waiting[int(number)] = list(rows[np.argsort(typicality(components[rows]))])  # best last
    sizes = {number: len(rows) for number, rows in waiting.items()}
    chosen: list[int] = []
    used = set(groups[labelled])
    while len(chosen) < count:
        for rows in waiting.values():
            while rows and groups[rows[-1]] in used:
                rows.pop()
        left = [number for number, rows in waiting.items() if rows]
        if not left:
            break
        best = min(left, key=lambda number: (has[number], -sizes[number], number))
        chosen.append(int(waiting[best].pop()))
        used.add(groups[chosen[-1]])
        has[best] += 1
    return np.array(chosen, np.int64)


def typicality(components: np.ndarray) -> np.ndarray:
    """One over the mean distance to the nearest `NEIGHBORS` of these photos, float64 (N,)."""
    if len(components) < 2:
        return np.ones(len(components))
    from sklearn.neighbors import NearestNeighbors

    near = min(NEIGHBORS, len(components) - 1)
    away, _ = NearestNeighbors(n_neighbors=near + 1).fit(components).kneighbors(components)
    return 1.0 / np.maximum(away[:, 1:].mean(axis=1), np.finfo(float).tiny)


def wavering(
    embeddings: np.ndarray, projection: Projection, head: LinearHead, seed: int
) -> np.ndarray:
    """How often the class changes when most features are dropped, float64 (N,) in [0, 1].

    The query of DropQuery (Gupte et al. 2024, equation 1), by `PASSES` passes.

    Args:
        embeddings: float (N, F).
        projection: What the head sees of them.
        head: Fitted to the labelled photos.
        seed: Of the features dropped.
    """
    random = np.random.default_rng(seed)
    plain = head.probs(projection(embeddings)).argmax(axis=1)
    changed = np.zeros(len(embeddings))
    for _ in range(PASSES):
        kept = random.random(embeddings.shape) >= DROPPED
        dropped = embeddings * kept / (1 - DROPPED)
        changed += head.probs(projection(dropped)).argmax(axis=1) != plain
    return changed / PASSES


def margins(probs: np.ndarray) -> np.ndarray:
    """Difference of the two largest probabilities, float64 (N,): small where a model is unsure."""
    if probs.shape[1] < 2:
        return np.ones(len(probs))
    top = np.partition(probs, -2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def diverse(components: np.ndarray, weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """One photo of each of `count` clusters of the candidates, the nearest to its center.

    Args:
        components: float64 (N, D) of the candidates.
        weights: float64 (N,), above 0; centers lie nearer to heavier ones (Zhdanov 2019).
        count: How many to choose.
        seed: Of k-means.

    Returns:
        Places among the candidates, those of the largest clusters first.
    """
    if count >= len(components):
        return np.argsort(-weights, kind="stable")
    from sklearn.cluster import KMeans

    means = KMeans(count, n_init=1, random_state=seed).fit(components, sample_weight=weights)
    away = np.linalg.norm(components - means.cluster_centers_[means.labels_], axis=1)
    mass = np.bincount(means.labels_, weights=weights, minlength=count)
    nearest = [
        int(rows[away[rows].argmin()])
        for cluster in np.argsort(-mass, kind="stable")
        if len(rows := np.flatnonzero(means.labels_ == cluster))
    ]
    return np.array(nearest, np.int64)


def _clusters(components: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if count <= 50 else MiniBatchKMeans
    clusters: np.ndarray = kind(count, n_init=1, random_state=seed).fit_predict(components)
    return clusters
