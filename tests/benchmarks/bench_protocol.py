"""What the division of photos alone does to a score on PlantDoc: one model, five protocols.

    python tests/benchmarks/bench_protocol.py [--photos DIR] [--cache DIR] [--seeds 5]

A logistic regression on features of the frozen backbone (its strength fixed) is judged

- on the official test folder, all photos;
- on it, without photos whose near-duplicates bear another class: no classifier has both right;
- on it, without photos that have a near-duplicate in the training folder;
- by five random folds of all photos, as many papers do, near-duplicates wherever they fall;
- by five random folds that keep near-duplicates together.

Folds are drawn anew for each seed; their ranges are from the least to the most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parent))
import plantdoc_heads
from machine import machine

STRENGTH = 0.003
Fold = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Print a row per protocol."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=plantdoc_heads.PHOTOS_DIR / "plantdoc_256")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    photos = plantdoc_heads.load(args.photos, args.cache)
    ids = photos.photo_set.labels("photo_id")["photo_id"]
    in_test = ids.str.startswith("test/").to_numpy()
    train, official = np.flatnonzero(~in_test), np.flatnonzero(in_test)
    torn = [g for g in np.unique(photos.groups) if len(set(photos.labels[photos.groups == g])) > 1]
    agreed = official[~np.isin(photos.groups[official], torn)]
    right = answers(photos, [(train, official)])
    for name, rows in (
        ("official", official),
        ("official, no contradicting labels", agreed),
        ("official, no near-duplicate of a training photo", photos.test),
    ):
        print(f"{name}: {100 * right[rows].mean():.1f}% of {len(rows)} photos")
    for name, folds in (("five random folds", random_folds), ("five grouped folds", grouped_folds)):
        scores = [100 * answers(photos, folds(photos, seed)).mean() for seed in range(args.seeds)]
        print(f"{name}: {np.mean(scores):.1f}% ({min(scores):.1f} to {max(scores):.1f})")


def answers(photos: plantdoc_heads.PlantDoc, folds: Iterator[Fold] | list[Fold]) -> np.ndarray:
    """Whether each judged photo is answered right, bool (N,)."""
    right = np.zeros(len(photos.labels), bool)
    for train, judged in folds:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
        model.fit(photos.features[train], photos.labels[train])
        right[judged] = model.predict(photos.features[judged]) == photos.labels[judged]
    return right


def random_folds(photos: plantdoc_heads.PlantDoc, seed: int) -> Iterator[Fold]:
    """Classes in equal shares."""
    return StratifiedKFold(5, shuffle=True, random_state=seed).split(photos.features, photos.labels)


def grouped_folds(photos: plantdoc_heads.PlantDoc, seed: int) -> Iterator[Fold]:
    """Near-duplicates together."""
    folds = GroupKFold(5, shuffle=True, random_state=seed)
    return folds.split(photos.features, photos.labels, photos.groups)


if __name__ == "__main__":
    main()
