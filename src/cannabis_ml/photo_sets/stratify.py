"""Iterative stratification of groups: every split gets its share of every class.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label
data", algorithm 1) with groups for examples: the class with the fewest photos left is dealt out
first, since it leaves least choice, and each of its groups goes where most of the class is still
wanted. Groups of many photos come before those of few, so that the few can make up for them. What
is dealt out class by class may fit the classes of a group badly that came later; so groups change
their part afterwards as long as that lessens Pearson's chi-square between the photos that the parts
have of each class and those that they should have.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PASSES = 20
"""Times that every group is looked at again; each lessens chi-square, and few are needed."""

_DIGITS = 9
"""To which what is wanted is compared: fractions of a photo that differ by rounding are equal."""


def stratify(
    counts: csr_array, may: np.ndarray, there: np.ndarray, targets: np.ndarray, rank: np.ndarray
) -> np.ndarray:
    """Put each group into one part.

    Args:
        counts: int (G, L), the photos of each class in each group. A photo may show several classes
            or none; the last column is not of a class: it counts all photos.
        may: bool (G, S), the parts that each group may be put in; at least one.
        there: int (L, S), the photos of each class that are in each part already.
        targets: float (L, S), the photos of each class that each part should have in the end.
        rank: int (G,), decides between groups and parts that fit alike: a number of its own for
            each group.

    Returns:
        int (G,), the part of each group. It depends on `rank`, not on the order of the groups.
    """
    groups = _Groups(counts, may, targets - there, targets)
    for group, label in _scarcest_first(counts, rank):
        groups.put(group, groups.most_wanting(group, label))
    order = np.argsort(rank).tolist()
    for _ in range(_PASSES):
        if not sum(groups.improve(group) for group in order):
            break
    return np.array(groups.part, np.int64)


def _scarcest_first(counts: csr_array, rank: np.ndarray) -> list[tuple[int, int]]:
    """Every group once, with the class it is assigned for: the one with fewest photos left.

    Which group comes next depends on those that came before, not on where they were put.
    """
    by_class = counts.tocsc()
    left = np.asarray(counts.sum(axis=0)).ravel().astype(int).tolist()
    starts, photos_of = counts.indptr.tolist(), counts.data.tolist()
    classes_of = counts.indices.tolist()
    everything = len(left) - 1  # last, also where there is but one class
    queue = [(n, label) for label, n in enumerate(left[:-1]) if n]
    heapify(queue)
    done = np.zeros(counts.shape[0], bool)
    order: list[tuple[int, int]] = []
    while queue or not done.all():
        n, label = heappop(queue) if queue else (left[everything], everything)
        if n != left[label]:
            continue  # some of these were dealt out since; it is queued again with its new count
        column = slice(by_class.indptr[label], by_class.indptr[label + 1])
        members, photos = by_class.indices[column], by_class.data[column]
        waiting = ~done[members]
        members, photos = members[waiting], photos[waiting]
        changed: set[int] = set()
        for group in members[np.lexsort((rank[members], -photos))].tolist():
            done[group] = True
            order.append((group, label))
            for at in range(starts[group], starts[group + 1]):
                left[classes_of[at]] -= photos_of[at]
                changed.add(classes_of[at])
        for other in sorted(changed - {label, everything}):
            if left[other]:
                heappush(queue, (left[other], other))
    return order


class _Groups:
    """Groups and what the parts still want of each class.

    Plain lists: a step touches a handful of numbers, for which arrays are slow.
    """

    def __init__(
        self, counts: csr_array, may: np.ndarray, wanted: np.ndarray, targets: np.ndarray
    ) -> None:
        self.part = [-1] * counts.shape[0]
        self._starts = counts.indptr.tolist()
        self._classes, self._photos = counts.indices.tolist(), counts.data.tolist()
        self._may = [np.flatnonzero(row).tolist() for row in may]
        self._wanted = wanted.tolist()
        # What a photo too many weighs in chi-square; parts of no share are none to put groups in.
        self._weight = (1 / np.where(targets > 0, targets, np.inf)).tolist()

    def _counted(self, group: int) -> list[tuple[int, int]]:
        here = slice(self._starts[group], self._starts[group + 1])
        return list(zip(self._classes[here], self._photos[here], strict=True))

    def most_wanting(self, group: int, label: int) -> int:
        """The part that wants most of a class, and among equals most photos at all."""
        of_class, of_all = self._wanted[label], self._wanted[-1]
        return max(
            self._may[group],
            key=lambda s: (round(of_class[s], _DIGITS), round(of_all[s], _DIGITS), -s),
        )

    def put(self, group: int, part: int) -> None:
        """Into a part, out of the one that it was in."""
        before, self.part[group] = self.part[group], part
        for label, photos in self._counted(group):
            self._wanted[label][part] -= photos
            if before >= 0:
                self._wanted[label][before] += photos

    def improve(self, group: int) -> bool:
        """Put a group where it lessens chi-square most; False where it is well where it is."""
        here, counted = self.part[group], self._counted(group)

        def change(there: int) -> float:
            total = 0.0
            for label, photos in counted:
                wanted, weight = self._wanted[label], self._weight[label]
                total += photos * (2 * wanted[here] + photos) * weight[here]
                total += photos * (photos - 2 * wanted[there]) * weight[there]
            return round(total, _DIGITS)

        changes = [(change(part), part) for part in self._may[group] if part != here]
        least, part = min(changes, default=(0.0, here))
        if least >= 0:
            return False
        self.put(group, part)
        return True
