"""What a learning curve promises against what the photos bring, at three sizes.

    python tests/benchmarks/bench_learning_curves.py [--cache DIR] [--seeds 5] [--classes 12]

A curve is measured on part of the photos (40% of PlantVillage's 70% that are not held out). Then
the photos are added up to 60%, 80% and 100%, the head is fitted to them and judged on the photos
held out. Accuracy is the mean over groups of near-duplicates, as on the curve. The same for single
classes, whose photos alone are added.
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

from cannabis_ml.evaluation.groups import group_shares
from cannabis_ml.feedback.learning_curve import CurveParams, advise, arrival, measure_curve
from cannabis_ml.feedback.linear_head import fit_head, fit_projection

START, SIZES = 0.4, (0.6, 0.8, 1.0)


def right_share(photos, components, rows, judged):
    head = fit_head(components[rows], photos.labels[rows], len(photos.names), balanced=True)
    right = head.probs(components[judged]).argmax(axis=1) == photos.labels[judged]
    return float(right @ group_shares(photos.groups[judged]))


def compare(photos, components, seed, of_class=None):
    """Rows of: photos, what the curve expects with its interval, what came."""
    learn, judged = photos.divide(seed, 0.3)
    when = arrival(photos.labels[learn], photos.groups[learn], seed)
    there = learn[when < START]
    params = CurveParams(seed=seed)
    parts = components[there], photos.labels[there], photos.groups[there]
    curve = measure_curve(*parts, params, of_class)
    found = []
    for size in SIZES:
        if of_class is None:
            rows = mine = learn[when < size]
        else:
            own = photos.labels[learn] == of_class[0]
            rows = learn[np.where(own, when < size, when < START)]
            mine = learn[own & (when < size)]
            judged = judged[photos.labels[judged] == of_class[0]]
        expected, (low, high) = curve.expected(len(mine))
        came = right_share(photos, components, rows, judged)
        before = right_share(photos, components, there, judged)
        found.append((len(mine), before, expected, low, high, came))
    return found, advise("crop", curve, params).text


def report(rows, title):
    table = np.array(rows)  # (runs, sizes, 6)
    print(f"\n{title}")
    print(f"{'photos':>8}{'expected':>10}{'came':>8}{'error':>8}{'if unchanged':>14}{'within':>8}")
    for size in range(len(SIZES)):
        photos, before, expected, low, high, came = table[:, size].T
        away, still = np.abs(expected - came).mean(), np.abs(before - came).mean()
        within = ((low <= came) & (came <= high)).mean()
        print(
            f"{photos.mean():8.0f}{expected.mean():10.3f}{came.mean():8.3f}{away:8.3f}"
            f"{still:14.3f}{within:8.0%}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--classes", type=int, default=12)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(("numpy", "scikit-learn")))
    for source in ("plantvillage", "plantdoc"):
        photos = crop_embeddings.load(source, options.cache)
        components = fit_projection(photos.embeddings)(photos.embeddings)
        runs = [compare(photos, components, seed) for seed in range(options.seeds)]
        report([rows for rows, _ in runs], f"{source}, all classes, {options.seeds} seeds")
        print("as told, seed 0:", runs[0][1], flush=True)
        sizes = np.bincount(photos.labels)
        names = np.flatnonzero(sizes >= 60)[:: max(1, len(sizes) // options.classes)]
        alone = [compare(photos, components, 0, (k, photos.names[k])) for k in names]
        report([rows for rows, _ in alone], f"{source}, {len(names)} classes alone, seed 0")
        for _, text in alone:
            print("  ", text, flush=True)


if __name__ == "__main__":
    main()
