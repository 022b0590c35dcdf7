"""Precision and recall of suspected label errors, where 5% of the labels were flipped.

    python tests/benchmarks/bench_label_errors.py [--cache DIR] [--seeds 5] [--source plantvillage]

Labels are flipped to any other class, or to the class that the photo is most often taken for (what
people confuse). Beside ours stand all filters of cleanlab on the same probabilities out of fold,
and the plain list of photos that the model calls otherwise.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import crop_embeddings
from machine import machine

from cannabis_ml.feedback.label_next.label_errors import suspected_label_errors
from cannabis_ml.feedback.linear_head import fit_projection, out_of_fold_probs

FLIPPED = 0.05
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")


def flip(labels, probs, seed, alike):
    """Labels of which 5% are wrong, and the rows of those."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(labels))[: round(FLIPPED * len(labels))]
    classes = probs.shape[1]
    others = probs[rows].copy()
    others[np.arange(len(rows)), labels[rows]] = -1
    anything = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    flipped = labels.copy()
    flipped[rows] = others.argmax(axis=1) if alike else anything
    return flipped, rows


def judge(photos, components, clean, seed, alike):
    from cleanlab.filter import find_label_issues

    labels, rows = flip(photos.labels, clean, seed, alike)
    probs = out_of_fold_probs(components, labels, photos.groups, len(photos.names), seed)
    lists = {"ours": suspected_label_errors(labels, probs, photos.names)["row"].to_numpy()}
    for name in FILTERS:
        lists[f"cleanlab {name}"] = find_label_issues(
            labels, probs, filter_by=name, return_indices_ranked_by="normalized_margin", n_jobs=1
        )
    lists["called otherwise"] = np.flatnonzero(probs.argmax(axis=1) != labels)
    found = {}
    for name, listed in lists.items():
        hits = np.isin(listed, rows)
        first = hits[: len(rows)]
        found[name] = (len(listed), hits.mean(), hits.sum() / len(rows), first.mean())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--source", choices=list(crop_embeddings.FOLDERS), default="plantvillage")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(("numpy", "scikit-learn", "cleanlab")))
    photos = crop_embeddings.load(options.source, options.cache)
    components = fit_projection(photos.embeddings)(photos.embeddings)
    clean = out_of_fold_probs(components, photos.labels, photos.groups, len(photos.names))
    accuracy = (clean.argmax(axis=1) == photos.labels).mean()
    print(f"{options.source}: {len(photos.labels):,} photos; out of fold {accuracy:.1%} are right")
    for alike in (False, True):
        runs = [judge(photos, components, clean, seed, alike) for seed in range(options.seeds)]
        print(f"\n5% flipped {'to the most similar class' if alike else 'to any class'}")
        print(f"{'':32}{'listed':>8}{'precision':>11}{'recall':>8}{'of the first 5%':>17}")
        for name in runs[0]:
            listed, precision, recall, first = np.mean([run[name] for run in runs], axis=0)
            print(f"{name:32}{listed:8.0f}{precision:11.3f}{recall:8.3f}{first:17.3f}")


if __name__ == "__main__":
    main()
