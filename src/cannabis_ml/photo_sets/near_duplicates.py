"""Near-duplicates: all pairs of similar hashes, checked by thumbnail, and their clusters.

`hash_pairs` finds the pairs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.photo_sets.hash_pairs import check_hashes, pairs_of_distinct, ranges
from cannabis_ml.photo_sets.thumbnails import (
    Moments,
    difference_of,
    moments,
    thumbnail_difference,
)
from cannabis_ml.photos.checks.check import Defect

DEFECT = Defect(
    name="near_duplicate",
    kind="flagged",
    title="Near-duplicates",
    about="Nearly the same as another photo.",
    advice="Nothing need be done: they share a split. They teach and prove less than as many photos"
    " of different plants, so bring some of those where a class has few groups",
)

MAX_DISTANCE = 8
"""Bits of 64. Re-encoded, resized and stamped copies stay within it."""

MAX_DIFFERENCE = 0.045
"""Of `thumbnail_difference`. Chosen by eye among all pairs within 12 bits in 5,584 photos of three
sets of leaves: within 8 bits, copies and captures of one leaf in one pose lie below; the first two
leaves that only resemble each other, on the same plain background, lie at 0.053."""

_CHUNK = 1 << 13  # pairs whose thumbnails are compared at once
_SIDE = 1 << 10  # photos on each side whose thumbnails are compared with one another at once
_FEW = 1 << 8  # pairs of photos up to which two hashes are not worth a matrix product
_LINKS_KEPT = 1 << 20  # until the components that they make are worked out


class Limits(NamedTuple):
    """How much near-duplicates may differ.

    Attributes:
        distance: Bits in which their hashes may differ, 0 to 64.
        difference: Of `thumbnail_difference` between them, 0 to 2.
    """

    distance: int = MAX_DISTANCE
    difference: float = MAX_DIFFERENCE


STANDARD = Limits()


def cluster(
    hashes: np.ndarray,
    signatures: np.ndarray,
    limits: Limits = STANDARD,
    *,
    valid: np.ndarray | None = None,
    engine: Engine = THREADS,
) -> np.ndarray:
    """Cluster near-duplicates.

    Photos are linked when both hash and thumbnail are within their limits; a cluster is a connected
    component of the links. So no link ever leaves a cluster, and a chain of small steps is one
    cluster however far apart its ends are: `chains` finds those. The grouping does not depend on
    the order of the photos.

    From a table with the fields of `phash.Fingerprint` as columns:

        hashes = photos["phash"].to_numpy(np.uint64, na_value=0)
        valid = photos["phash"].notna().to_numpy()
        signatures = np.frombuffer(b"".join(photos["thumbnail"]), np.uint8).reshape(len(photos), -1)

    Args:
        hashes: uint64 (N,).
        signatures: uint8 (N, B), the bytes of the thumbnails.
        limits: How much linked photos may differ.
        valid: bool (N,), False for photos without a hash: each is a cluster of its own. None
            takes all for valid.
        engine: Where similar hashes are looked for.

    Returns:
        int64 (N,), cluster numbers from 0, in the order in which clusters first appear.

    Raises:
        ValueError: If an argument is of another type, shape or range.
    """
    rows, nodes, which = _nodes_of(hashes, signatures, limits.distance, valid)
    labels = np.arange(len(hashes)) + len(nodes.hashes)  # beyond those of any cluster
    links = nodes.links(*limits, engine)
    labels[rows] = _components(links, len(nodes.hashes))[which]
    return _numbered_by_appearance(labels)


class Crossing(NamedTuple):
    """Links between parts of a set.

    Attributes:
        links: How many pairs of photos are linked and in different parts.
        crosses: bool (N,), which photos have such a link.
    """

    links: int
    crosses: np.ndarray


def links_across(
    hashes: np.ndarray,
    signatures: np.ndarray,
    parts: np.ndarray,
    limits: Limits = STANDARD,
    *,
    valid: np.ndarray | None = None,
    engine: Engine = THREADS,
) -> Crossing:
    """Count the links between photos of different parts, as the splits of a set.

    Memory is linear in photos: links are counted, not kept.

    Args:
        hashes: As for `cluster`.
        signatures: As for `cluster`.
        parts: int (N,), the part that each photo is in; negative for photos that are in none.
        limits: As for `cluster`.
        valid: As for `cluster`.
        engine: As for `cluster`.

    Raises:
        ValueError: If an argument is of another type, shape or range.
    """
    if parts.shape != hashes.shape or not np.issubdtype(parts.dtype, np.integer):
        raise ValueError(f"`parts` is int ({len(hashes)},), not {parts.dtype} {parts.shape}.")
    rows, nodes, which = _nodes_of(hashes, signatures, limits.distance, valid)
    n, width = len(nodes.hashes), max(int(parts.max(initial=-1)) + 1, 1)
    of_row = parts[rows]
    inside = of_row >= 0
    flat = np.bincount(which[inside] * width + of_row[inside], minlength=n * width)
    count = flat.reshape(n, width)  # photos of each node in each part
    # Photos of one node have equal hashes and thumbnails: every two of them are linked.
    links = (count.sum(axis=1) ** 2 - (count**2).sum(axis=1)).sum() // 2
    is_near = count > 0  # whether a node, or one that it is linked to, is in the part
    for pairs in nodes.links(*limits, engine):
        left, right = pairs.T
        together = (count[left] * count[right]).sum()
        links += (count[left].sum(axis=1) * count[right].sum(axis=1)).sum() - together
        for part in range(width):
            is_near[left[count[right, part] > 0], part] = True
            is_near[right[count[left, part] > 0], part] = True
    crosses = np.zeros(len(hashes), bool)
    elsewhere = is_near[which].sum(axis=1) > is_near[which, np.maximum(of_row, 0)]
    crosses[rows] = inside & elsewhere
    return Crossing(int(links), crosses)


class Chain(NamedTuple):
    """A cluster that holds too large a part of a set.

    Attributes:
        photos: int64 (M,), indices of its photos.
        difference: How far the farthest thumbnail is from that of the first photo.
        max_distance: The largest lower limit at which no part of the chain is too large any more,
            `max_difference` unchanged; None where there is none.
        max_difference: The same for the other limit, in thousandths.
    """

    photos: np.ndarray
    difference: float
    max_distance: int | None
    max_difference: float | None


def chains(
    hashes: np.ndarray,
    signatures: np.ndarray,
    clusters: np.ndarray,
    most: int,
    limits: Limits = STANDARD,
) -> list[Chain]:
    """Find clusters of more than `most` photos, and limits at which they fall apart.

    Args:
        hashes: As for `cluster`.
        signatures: As for `cluster`.
        clusters: int (N,), as `cluster` returns them, for the same limits.
        most: Photos that a cluster may have.
        limits: As for `cluster`.

    Returns:
        The largest first, those of one size in the order of their first photos.
    """
    found_chains = []
    sizes = np.bincount(clusters, minlength=1)
    for number in sorted(np.flatnonzero(sizes > most), key=lambda c: -sizes[c]):
        photos = np.flatnonzero(clusters == number)
        ours, seen = hashes[photos], signatures[photos]

        def is_small(
            distance: int, thousandths: float, ours: np.ndarray = ours, seen: np.ndarray = seen
        ) -> bool:
            parts = cluster(ours, seen, Limits(distance, thousandths / 1000))
            return bool(np.bincount(parts).max() <= most)

        first = np.repeat(seen[:1], len(seen), axis=0)
        found_chains.append(
            Chain(
                photos,
                float(thumbnail_difference(first, seen).max()),
                _largest(limits.distance, lambda d: is_small(d, 1000 * limits.difference)),
                _in_thousandths(
                    _largest(
                        math.ceil(1000 * limits.difference),
                        lambda t: is_small(limits.distance, t),
                    )
                ),
            )
        )
    return found_chains


class _Nodes:
    """Distinct photos, sorted by hash, then thumbnail."""

    def __init__(self, hashes: np.ndarray, signatures: np.ndarray) -> None:
        self.hashes = hashes
        self.signatures = signatures

    def links(
        self, max_distance: int, max_difference: float, engine: Engine = THREADS
    ) -> Iterator[np.ndarray]:
        """int64 (M, 2), many times: all pairs of different nodes within both limits, each once."""
        distinct, start, count = np.unique(self.hashes, return_index=True, return_counts=True)
        same = np.flatnonzero(count > 1)
        alike = pairs_of_distinct(distinct, max_distance, engine)
        pairs = np.concatenate([np.stack([same, same], axis=1), alike])
        is_few = count[pairs].prod(axis=1) <= _FEW
        few = pairs[is_few]
        for begin in range(0, len(few), _CHUNK):
            left, right = few[begin : begin + _CHUNK].T
            for every in _every_with_every(start[left], count[left], start[right], count[right]):
                some = every[every[:, 0] < every[:, 1]]  # a hash with itself: each pair once
                yield some[self._differences(some[:, 0], some[:, 1]) <= max_difference]
        for left, right in pairs[~is_few]:
            ours, theirs = (slice(start[i], start[i] + count[i]) for i in (left, right))
            yield from self._links_between(ours, theirs, max_difference)

    def _links_between(
        self, ours: slice, theirs: slice, max_difference: float
    ) -> Iterator[np.ndarray]:
        """Pairs of nodes whose thumbnails are near, of two runs of nodes."""
        for low in range(ours.start, ours.stop, _SIDE):
            left = self.signatures[low : min(low + _SIDE, ours.stop)]
            first = low if ours == theirs else theirs.start
            for high in range(first, theirs.stop, _SIDE):
                right = self.signatures[high : min(high + _SIDE, theirs.stop)]
                products = left.astype(np.float32) @ right.astype(np.float32).T
                sums, squares = moments(left)
                rows = Moments(sums[:, None], squares[:, None])
                difference = difference_of(products, rows, moments(right), left.shape[1])
                at = np.flatnonzero(difference <= max_difference)
                pairs = np.stack([low + at // len(right), high + at % len(right)], axis=1)
                yield pairs[pairs[:, 0] < pairs[:, 1]]

    def _differences(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        differences = np.empty(len(left), np.float32)
        for start in range(0, len(left), _CHUNK):
            part = slice(start, start + _CHUNK)
            differences[part] = thumbnail_difference(
                self.signatures[left[part]], self.signatures[right[part]]
            )
        return differences


def _nodes_of(
    hashes: np.ndarray, signatures: np.ndarray, max_distance: int, valid: np.ndarray | None
) -> tuple[np.ndarray, _Nodes, np.ndarray]:
    """Rows of the photos with a hash, the distinct ones among them, and which of these each is."""
    check_hashes(hashes, max_distance)
    if signatures.dtype != np.uint8 or signatures.ndim != 2 or len(signatures) != len(hashes):
        raise ValueError(
            f"Signatures are uint8 ({len(hashes)}, B), not {signatures.dtype} {signatures.shape}."
        )
    if valid is None:
        valid = np.ones(len(hashes), bool)
    if valid.dtype != bool or valid.shape != hashes.shape:
        raise ValueError(f"`valid` is bool ({len(hashes)},), not {valid.dtype} {valid.shape}.")
    rows = np.flatnonzero(valid)
    kept, which = _distinct_photos(hashes[rows], signatures[rows])
    return rows, _Nodes(hashes[rows[kept]], signatures[rows[kept]]), which


def _largest(limit: int, is_right: Callable[[int], bool]) -> int | None:
    """The largest number from 0 to below `limit` that is right, where lower ones are too."""
    right = bisect_left(range(limit), True, key=lambda n: not is_right(n))
    return right - 1 if right else None


def _in_thousandths(number: int | None) -> float | None:
    return None if number is None else number / 1000


def _distinct_photos(hashes: np.ndarray, signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the distinct photos, sorted by hash and thumbnail, and for each row which it is."""
    _, which, count = np.unique(hashes, return_inverse=True, return_counts=True)
    # Thumbnails are many bytes: only those that share a hash with others are sorted.
    shared = np.flatnonzero(count[which] > 1)
    rank = np.zeros(len(hashes), np.int64)
    if len(shared):
        whole = np.dtype((np.void, signatures.shape[1]))
        rows = np.ascontiguousarray(signatures[shared]).view(whole).ravel()
        rank[shared] = np.unique(rows, return_inverse=True)[1]
    _, kept, which = np.unique(
        which * (len(shared) + 1) + rank, return_index=True, return_inverse=True
    )
    return kept, which


def _components(links: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Number the connected components: int (n,), by node. Memory is linear in nodes."""
    parts = np.arange(n)
    waiting: list[np.ndarray] = []
    count = 0
    for pairs in links:
        new = parts[pairs]
        new = new[new[:, 0] != new[:, 1]]
        waiting.append(new)
        count += len(new)
        if count > _LINKS_KEPT:
            parts = _connected(waiting, n)[parts]
            waiting, count = [], 0
    return _connected(waiting, n)[parts]


def _connected(links: list[np.ndarray], n: int) -> np.ndarray:
    from scipy.sparse import coo_array  # comes with scikit-learn
    from scipy.sparse.csgraph import connected_components

    left, right = np.concatenate([np.empty((0, 2), np.int64), *links]).T
    # Not int8: a link that is there 256 times would add up to none.
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _every_with_every(
    left: np.ndarray, lefts: np.ndarray, right: np.ndarray, rights: np.ndarray
) -> Iterator[np.ndarray]:
    """Per row, all pairs of `left … left + lefts - 1` with `right … right + rights - 1`."""
    sizes = lefts * rights
    bounds = np.unique(np.searchsorted(np.cumsum(sizes), np.arange(0, sizes.sum(), _CHUNK)))
    for low, high in zip(bounds, np.append(bounds[1:], len(sizes)), strict=True):
        row = np.repeat(np.arange(low, high), sizes[low:high])
        nth = ranges(np.zeros(high - low, np.int64), sizes[low:high])
        yield np.stack([left[row] + nth // rights[row], right[row] + nth % rights[row]], axis=1)


def _numbered_by_appearance(labels: np.ndarray) -> np.ndarray:
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[which]


# The search. Hashes here are distinct and sorted.
