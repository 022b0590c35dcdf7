"""Near-duplicate search: does it grow close to linearly, and against what people do instead.

    python tests/benchmarks/bench_near_duplicates.py [--largest 1000000]

Hashes are synthetic, of two kinds: uniform bits, and skewed as those of photos are (bits that are
mostly alike, and neighbouring frequencies that agree). In both, one photo in twenty has a copy up
to eight bits away. Memory is what the search allocates beyond its input.
"""

from __future__ import annotations

import argparse
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import alternate, machine, median_seconds

from cannabis_ml.photo_sets.hash_pairs import find_pairs
from cannabis_ml.photo_sets.near_duplicates import MAX_DISTANCE, cluster

SIZES = (10_000, 100_000, 1_000_000)


def uniform(n: int, seed: int = 0) -> np.ndarray:
    """uint64 (n,): independent bits."""
    return _with_copies(np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64), seed)


def skewed(n: int, seed: int = 0) -> np.ndarray:
    """uint64 (n,): bit shares from 20% to 80%, every second bit tied to the one before."""
    draw = np.random.default_rng(seed)
    values = np.zeros(n, np.uint64)
    shares = draw.uniform(0.2, 0.8, 64)
    before = np.zeros(n, bool)
    for bit in range(64):
        now = draw.random(n, np.float32) < shares[bit]
        if bit % 2:
            now = np.where(draw.random(n, np.float32) < 0.4, before, now)
        values |= now.astype(np.uint64) << np.uint64(bit)
        before = now
    return _with_copies(values, seed)


def _with_copies(hashes: np.ndarray, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed + 1)
    copies = len(hashes) // 20
    copied = hashes[:copies].copy()
    for _ in range(MAX_DISTANCE):
        flips = draw.random(copies) < 0.5
        bits = draw.integers(0, 64, copies, dtype=np.uint64)
        copied ^= np.where(flips, np.uint64(1) << bits, np.uint64(0))
    hashes[-copies:] = copied
    return draw.permutation(hashes)


def all_with_all(hashes: np.ndarray) -> np.ndarray:
    """Every hash with every other, vectorised by rows."""
    found = []
    for i, value in enumerate(hashes[:-1]):
        near = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ value) <= MAX_DISTANCE)
        found.append(np.stack([np.full(len(near), i), near + i + 1], axis=1))
    return np.concatenate(found)


def python_loop(hashes: list[int]) -> list[tuple[int, int]]:
    """The obvious script: two loops over the photos' hashes."""
    found = []
    for i, a in enumerate(hashes):
        rest = range(i + 1, len(hashes))
        found += [(i, j) for j in rest if (a ^ hashes[j]).bit_count() <= MAX_DISTANCE]
    return found


def peak_mib(function: Callable[[], object]) -> float:
    """Most memory allocated at once during a call."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--largest", type=int, default=SIZES[-1], help="number of hashes")
    largest = arguments.parse_args().largest
    print(machine(), f"\nwithin {MAX_DISTANCE} bits, one thread, medians\n")

    print("| hashes | photos | pairs | seconds | us per photo | MiB | bytes per photo |")
    print("|---|---|---|---|---|---|---|")
    for name, make in (("uniform", uniform), ("skewed", skewed)):
        for n in (n for n in SIZES if n <= largest):
            hashes = make(n)
            repeats = 5 if n <= 100_000 else 1
            seconds = median_seconds(lambda h=hashes: find_pairs(h, MAX_DISTANCE), repeats)
            pairs = len(find_pairs(hashes, MAX_DISTANCE))
            mib = peak_mib(lambda h=hashes: find_pairs(h, MAX_DISTANCE))
            print(
                f"| {name} | {n:,} | {pairs:,} | {seconds:.2f} | {seconds / n * 1e6:.1f}"
                f" | {mib:.0f} | {mib * 2**20 / n:.0f} |",
                flush=True,
            )

    print("\n| against | photos | theirs, s | ours, s | ratio |")
    print("|---|---|---|---|---|")
    for name, n, theirs in (
        ("Python loop", 2_000, lambda h: python_loop(h.tolist())),
        ("all with all, numpy", 10_000, all_with_all),
    ):
        hashes = np.unique(uniform(n))
        taken = alternate(
            {
                "theirs": lambda h=hashes, f=theirs: f(h),
                "ours": lambda h=hashes: find_pairs(h, MAX_DISTANCE),
            },
            repeats=3,
        )
        assert sorted(map(tuple, theirs(hashes))) == sorted(
            map(tuple, find_pairs(hashes, MAX_DISTANCE))
        )
        print(
            f"| {name} | {len(hashes):,} | {taken['theirs']:.3f} | {taken['ours']:.3f}"
            f" | {taken['theirs'] / taken['ours']:.1f} |",
            flush=True,
        )

    n = 100_000
    hashes = uniform(n)
    seen = np.random.default_rng(0).integers(0, 256, (n, 192), dtype=np.uint8)
    seconds = median_seconds(lambda: cluster(hashes, seen), 3)
    mib = peak_mib(lambda: cluster(hashes, seen))
    print(f"\nclusters of {n:,} photos, thumbnails compared: {seconds:.2f} s, {mib:.0f} MiB")
    same = np.full(n, 1, np.uint64)
    alike = np.repeat(seen[:1], n, axis=0)
    seconds = median_seconds(lambda: cluster(same, alike), 3)
    print(f"clusters of {n:,} photos with one hash: {seconds:.2f} s")


if __name__ == "__main__":
    main()
