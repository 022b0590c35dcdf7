"""All pairs of similar hashes, exactly, without comparing every hash with every other.

Two hashes that differ in at most d bits, cut into d + k blocks, agree in at least k whole blocks.
So for every choice of k blocks the hashes are sorted by these blocks, and only neighbours that
agree there are compared (Manku, Jain & Das Sarma 2007, "Detecting near-duplicates for web
crawling"; Norouzi, Punjani & Fleet 2012 is the same idea for look-ups). The more hashes, the more
blocks a choice needs to stay selective; k is taken from what a sample of the hashes would cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.parallel import map_in_order

_BITS = 64
_MOST_CHOICES = 5000
_SAMPLE = 1 << 15
# What a choice of blocks costs, roughly; only the ratios matter.
_SECONDS_PER_CHOICE = 3e-4
_SECONDS_PER_HASH = 2e-8
_SECONDS_PER_CANDIDATE = 2e-9
_DENSE_SHARE = 6  # comparing what one has to look up takes about so many times longer
_CACHED = 1 << 15  # hashes whose intermediate results stay in the processor's cache
_PHOTOS_PER_CHOICE = 16  # of a chunk: a choice is as much work as so many photos, or far more
_ALL_OCTETS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.uint64)


def find_pairs(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """All pairs of hashes that differ in at most `max_distance` bits.

    Equal hashes are not paired with each other N x N: each is linked to the first of its kind, and
    only firsts are paired with other hashes. Memory is linear in hashes and pairs.

    Args:
        hashes: uint64 (N,).
        max_distance: Bits, 0 to 64. Fast up to about 10.

    Returns:
        int64 (M, 2), rows i < j, in ascending order.

    Raises:
        ValueError: If `hashes` or `max_distance` are of another type, shape or range.
    """
    check_hashes(hashes, max_distance)
    distinct, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    repeats = np.flatnonzero(first[which] != np.arange(len(hashes)))
    equal = np.stack([first[which[repeats]], repeats], axis=1)
    alike = np.sort(first[pairs_of_distinct(distinct, max_distance)], axis=1)
    pairs = np.concatenate([equal, alike]).astype(np.int64)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def check_hashes(hashes: np.ndarray, max_distance: int) -> None:
    """Raise ValueError if hashes or their distance are of another type, shape or range."""
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ValueError(f"Hashes are uint64 (N,), not {hashes.dtype} {hashes.shape}.")
    if not 0 <= max_distance <= _BITS:
        raise ValueError(f"max_distance is {max_distance}: hashes differ in 0 to {_BITS} bits.")


def pairs_of_distinct(
    hashes: np.ndarray, max_distance: int, engine: Engine = THREADS
) -> np.ndarray:
    """int64 (M, 2): indices, ascending within a row, of all pairs within the distance.

    Args:
        hashes: uint64 (N,), distinct and sorted.
        max_distance: Bits.
        engine: On a cluster every choice of blocks is a piece of work of its own; each worker gets
            all hashes, 8 bytes a photo.
    """
    if len(hashes) < 2 or max_distance == 0:
        return np.empty((0, 2), np.int64)
    blocks, k = _plan(hashes, max_distance)
    search = _Search(hashes, blocks, max_distance)
    choices = combinations(range(len(blocks)), k)
    if engine.is_cluster:
        found = map_in_order(search, choices, engine=engine.for_items_of(_PHOTOS_PER_CHOICE))
    else:
        found = map(search, choices)
    return np.concatenate([np.empty((0, 2), np.int64), *found])


@dataclass(frozen=True)
class _Search:
    """Finds the pairs that agree in chosen blocks, and in no choice before; picklable."""

    hashes: np.ndarray
    blocks: list[np.ndarray]
    max_distance: int

    @cached_property
    def _parts(self) -> np.ndarray:
        return _words(self.hashes)

    def __call__(self, chosen: tuple[int, ...]) -> np.ndarray:
        order, key_bits = _chosen_first(self.blocks, chosen)
        values = _rearranged(self._parts, order)
        values.sort()
        # A pair may agree in more than k blocks: it is taken where `chosen` are its first k.
        passed = [b for b in range(max(chosen, default=0)) if b not in chosen]
        masks = [_mask(order, self.blocks[b]) for b in passed]
        pairs = [np.empty((0, 2), np.int64)]
        for left, right in _neighbors(values, key_bits, self.max_distance):
            new = np.ones(len(left), bool)
            for mask in masks:
                new &= ((left ^ right) & mask) != 0
            if new.any():
                ends = np.stack([left[new], right[new]], axis=1).ravel()
                given = _rearranged(_words(ends), np.argsort(order)).reshape(-1, 2)
                pairs.append(np.searchsorted(self.hashes, np.sort(given, axis=1)))
        return np.concatenate(pairs)


def _plan(hashes: np.ndarray, max_distance: int) -> tuple[list[np.ndarray], int]:
    """Blocks of bits, and how many of them a choice takes, by estimated cost.

    Bits that are mostly 0 or mostly 1 separate few photos; they are dealt out evenly to the blocks.
    """
    n = len(hashes)
    sample = hashes[:: -(-n // _SAMPLE)]
    words = _words(sample)
    shares = [np.mean(sample >> np.uint64(63 - bit) & np.uint64(1)) for bit in range(_BITS)]
    by_balance = np.argsort(np.abs(np.array(shares) - 0.5), kind="stable")
    plans = []
    for k in range(_BITS - max_distance + 1):
        choices = comb(max_distance + k, k)
        if choices > _MOST_CHOICES:
            break
        count = max_distance + k
        blocks = [by_balance[b::count] for b in range(count)]
        trials = {tuple(range(k)), tuple(range(count - k, count))}
        agreeing = np.mean([_agreeing_pairs(words, blocks, trial) for trial in sorted(trials)])
        candidates = agreeing * (n / len(sample)) ** 2
        each = _SECONDS_PER_CHOICE + n * _SECONDS_PER_HASH + candidates * _SECONDS_PER_CANDIDATE
        plans.append((choices * each, k, blocks))
    _, k, blocks = min(plans, key=lambda plan: plan[:2])
    return blocks, k


def _agreeing_pairs(words: np.ndarray, blocks: list[np.ndarray], chosen: tuple[int, ...]) -> float:
    """Pairs that agree in all chosen blocks."""
    order, key_bits = _chosen_first(blocks, chosen)
    runs = np.diff(_run_bounds(np.sort(_rearranged(words, order)), key_bits))
    return float((runs * (runs - 1.0)).sum() / 2)


def _chosen_first(blocks: list[np.ndarray], chosen: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """An order of the 64 bits in which those of the chosen blocks lead, and how many these are."""
    others = [blocks[b] for b in range(len(blocks)) if b not in chosen]
    key = [blocks[b] for b in chosen]
    return np.concatenate(key + others), sum(map(len, key))


def _words(hashes: np.ndarray) -> np.ndarray:
    """uint16 (4, N): the hashes in four parts, most significant first."""
    parts = hashes.astype(">u8").view(">u2").reshape(len(hashes), 4)
    return np.ascontiguousarray(parts.T.astype(np.uint16))


def _rearranged(words: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Hashes whose bit i, counted from the most significant, is the given hashes' `order[i]`."""
    weights = np.zeros(_BITS, np.uint64)
    weights[order] = np.uint64(1) << np.arange(_BITS - 1, -1, -1, dtype=np.uint64)
    octets = _ALL_OCTETS @ weights.reshape(8, 8).T  # (256, 8): what each value of a byte becomes
    tables = [
        (octets[:, 2 * part, None] | octets[None, :, 2 * part + 1]).ravel() for part in range(4)
    ]
    moved = np.empty(words.shape[1], np.uint64)
    for start in range(0, len(moved), _CACHED):
        part = moved[start : start + _CACHED]
        some = words[:, start : start + _CACHED]
        np.take(tables[0], some[0], out=part, mode="wrap")  # no index is out of range
        for table, word in zip(tables[1:], some[1:], strict=True):
            part |= np.take(table, word, mode="wrap")
    return moved


def _mask(order: np.ndarray, block: np.ndarray) -> np.uint64:
    """Where the bits of a block lie after `_rearranged`."""
    places = np.flatnonzero(np.isin(order, block)).astype(np.uint64)
    return np.bitwise_or.reduce(np.uint64(1) << (np.uint64(_BITS - 1) - places))


def _run_bounds(values: np.ndarray, key_bits: int) -> np.ndarray:
    """Where runs of sorted values with equal leading bits begin, and the end."""
    if key_bits == 0:
        return np.array([0, len(values)])
    new = (values[1:] ^ values[:-1]) >= np.uint64(1 << (_BITS - key_bits))
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(values)]])


def _neighbors(
    values: np.ndarray, key_bits: int, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of sorted values with equal keys within the distance, by steps apart."""
    bounds = _run_bounds(values, key_bits)
    runs = np.diff(bounds)
    # Pairs a step apart within a run. While these are many, all neighbours are compared, in parts
    # that stay in the cache and without looking anything up; then only what is left of long runs.
    at_least = np.cumsum(np.bincount(runs)[::-1])[::-1]  # runs of at least so many
    pairs_at = np.append(np.cumsum(at_least[::-1])[::-1][2:], 0)  # 1, 2, … steps apart
    dense = int(np.argmax(pairs_at * _DENSE_SHARE < len(values)))
    first_other = (1 << (_BITS - key_bits)) - 1  # what differs in the key differs by more
    for start in range(0, len(values), _CACHED):
        for step in range(1, dense + 1):
            right = values[start + step : start + step + _CACHED]
            left = values[start : start + len(right)]
            apart = left ^ right
            near = np.flatnonzero(np.bitwise_count(apart) <= max_distance)
            near = near[apart[near] <= first_other]
            if len(near):
                yield left[near], right[near]
    long = runs > dense + 1
    here = ranges(bounds[:-1][long], runs[long])
    last = np.repeat(bounds[1:][long] - 1, runs[long])
    step = dense
    while len(here):
        step += 1
        inside = here + step <= last
        here, last = here[inside], last[inside]
        left, right = values[here], values[here + step]
        near = np.bitwise_count(left ^ right) <= max_distance
        if near.any():
            yield left[near], right[near]


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`start, start + 1, …` for each start, as many as its size, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)
