"""Shares that our stratification reaches, and those of scikit-learn's StratifiedGroupKFold.

python tests/benchmarks/bench_splitting.py [--seeds 10]

scikit-learn deals groups into equal folds by one class per photo: of ten folds seven are train and
one each of the others, and labels of several heads are one class per combination. It cannot be told
what is divided already, nor which splits a group may be put in, so these are not compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from machine import machine
from scipy.sparse import csr_array
from sklearn.model_selection import StratifiedGroupKFold

from cannabis_ml.photo_sets.stratify import stratify

SHARES = np.array([0.7, 0.1, 0.1, 0.1])
SPLIT_OF_FOLD = np.repeat(np.arange(4), (7, 1, 1, 1))


def examples():
    """Name -> class per head of each photo, int (N, H), and its group, int (N,)."""
    random = np.random.default_rng(0)
    yield "240 photos, 3 classes", np.arange(240)[:, None] % 3, np.arange(240)
    kinds = np.repeat([0, 1], 80)[:, None]
    yield "a burst of 44 of 80", kinds, np.r_[np.zeros(44, int), np.arange(1, 117)]
    heads = np.stack([np.arange(400) % 2, np.arange(400) // 2 % 2], axis=1)
    yield "2 heads that cross", heads, np.arange(400)
    for largest in (5, 20):
        group = np.repeat(np.arange(300), random.integers(1, largest + 1, 300))
        yield f"300 groups of up to {largest}", random.integers(0, 5, 300)[group][:, None], group
    group = np.repeat(np.arange(400), random.integers(1, 9, 400))
    rare = random.choice(12, 400, p=np.arange(12, 0, -1) / 78)
    yield "12 unequal classes", rare[group][:, None], group
    several = random.integers(0, 3, (400, 4))
    yield "4 heads of 3 classes", several[group], group


def ours(labels, group, seed):
    shown = one_hot(labels)
    counts = np.zeros((group.max() + 1, shown.shape[1]), int)
    np.add.at(counts, group, shown)
    rank = np.random.default_rng(seed).permutation(len(counts))
    may = np.ones((len(counts), len(SHARES)), bool)
    asked = counts.sum(axis=0)[:, None] * SHARES
    return stratify(csr_array(counts), may, np.zeros(asked.shape, int), asked, rank)[group]


def theirs(labels, group, seed):
    combination = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
    split = np.empty(len(group), int)
    for fold, (_, rows) in enumerate(folds.split(labels, combination, group)):
        split[rows] = SPLIT_OF_FOLD[fold]
    return split


def one_hot(labels):
    columns = [labels[:, [h]] == np.unique(labels[:, h]) for h in range(labels.shape[1])]
    return np.column_stack([*columns, np.ones(len(labels), bool)]).astype(int)


def off_by(labels, split):
    """Largest and mean distance from the photos asked for, of every class in every split."""
    shown = one_hot(labels)
    reached = np.stack([shown[split == part].sum(axis=0) for part in range(4)], axis=1)
    distance = np.abs(reached - shown.sum(axis=0)[:, None] * SHARES)
    return distance.max(), distance.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    print(machine(("numpy", "scipy", "scikit-learn")))
    print(f"\nPhotos too many or too few, medians of {options.seeds} seeds: largest, mean, seconds")
    for name, labels, group in examples():
        told = []
        for divide in (ours, theirs):
            found = []
            for seed in range(options.seeds):
                start = time.perf_counter()
                split = divide(labels, group, seed)
                found.append((*off_by(labels, split), time.perf_counter() - start))
            largest, mean, seconds = np.median(found, axis=0)
            told.append(f"{divide.__name__} {largest:6.1f} {mean:6.2f} {seconds:7.3f} s")
        print(f"{name:25}{'    '.join(told)}")


if __name__ == "__main__":
    main()
