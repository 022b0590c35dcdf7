"""How many labels an accuracy takes: our batches against random ones and scikit-activeml's.

    python tests/benchmarks/bench_active_learning.py [--cache DIR] [--seeds 5] [--peers DIR]
        [--only random ours margin] [--figure docs/images/active_learning.svg]

PlantVillage subset, embeddings of a frozen EfficientNet-Lite0, 70% of the groups of each class to
choose from, 30% to judge by. Batches have as many photos as there are classes. After each the same
linear head is fitted to all labels so far. scikit-activeml's strategies are asked on the same
components; those that need a model get a first batch from its TypiClust, as ours do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import crop_embeddings
from machine import machine

from cannabis_ml.feedback.label_next.strategy import Pool, next_batch
from cannabis_ml.feedback.linear_head import fit_head, fit_projection

OURS = {"ours": None, "ours, DropQuery": "dropquery", "ours, TypiClust": "typical"}
THEIRS = ("TypiClust", "ProbCover", "DropQuery", "Badge", "margin", "CoreSet", "Falcun")
TARGETS = (0.7, 0.75, 0.8, 0.85)


def their_batch(name, components, labels, count, seed):
    from skactiveml import pool
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    cold = not (labels >= 0).any()
    chosen = "TypiClust" if cold and name not in ("ProbCover", "CoreSet") else name
    known = np.where(labels >= 0, labels, np.nan).astype(float)
    settings = {"random_state": seed}
    if chosen == "margin":
        strategy = pool.UncertaintySampling(method="margin_sampling", **settings)
    else:
        strategy = getattr(pool, chosen)(**settings)
    asked = {"X": components, "y": known, "batch_size": count}
    if chosen in ("DropQuery", "Badge", "margin", "Falcun"):
        model = SklearnClassifier(
            LogisticRegression(max_iter=200), classes=np.unique(labels[labels >= 0])
        )
        asked |= {"clf": model, "fit_clf": True}
    return strategy.query(**asked)


def run(photos, name, seed, rounds):
    learn, judged = photos.divide(seed, 0.3)
    count = len(photos.names)
    truth, groups = photos.labels[learn], photos.near_duplicates[learn]
    embeddings = photos.embeddings[learn]
    projection = fit_projection(embeddings)
    components, away = projection(embeddings), projection(photos.embeddings[judged])
    labels = np.full(len(learn), -1)
    curve, seconds = [], 0.0
    for number in range(rounds):
        began = time.perf_counter()
        draw = 100 * seed + number
        pool = Pool(embeddings, groups, labels, count)
        if name == "random":
            free = np.flatnonzero(labels < 0)
            batch = np.random.default_rng(draw).permutation(free)[:count]
        elif name in OURS:
            query = "typical" if number == 0 else OURS[name]
            batch = next_batch(pool, count, draw, query)
        else:
            batch = their_batch(name, components, labels, count, draw)
        seconds += time.perf_counter() - began
        labels[batch] = truth[batch]
        known = labels >= 0
        head = fit_head(components[known], labels[known], count)
        right = head.probs(away).argmax(axis=1) == photos.labels[judged]
        curve.append(float(right.mean()))
    return {"name": name, "seed": seed, "curve": curve, "seconds": seconds}


def labels_for(curve, target, count):
    """Labels for an accuracy, between two batches by the straight line; None if never reached."""
    best = np.maximum.accumulate(curve)
    if best[-1] < target:
        return None
    place = int(np.argmax(best >= target))
    if place == 0:
        return float(count)
    share = (target - best[place - 1]) / (best[place] - best[place - 1])
    return count * (place + share)


def draw(done, names, count, path):
    """Mean accuracy of all seeds by number of labels, and the range of the seeds."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "active learning"
    from matplotlib import pyplot as plt

    shown = {"random": ("#777777", "random"), "ours": ("#1b7837", "ours: typical, then margin")}
    others = ("#2166ac", "#b35806", "#762a83", "#c51b7d", "#8c510a", "#01665e")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, color in zip([n for n in names if n not in shown], others, strict=False):
        label = name if name in OURS else f"scikit-activeml: {name}"
        shown[name] = (color, label)
    for name, (color, label) in shown.items():
        curves = np.array([row["curve"] for row in done if row["name"] == name])
        if not len(curves):
            continue
        labels = count * np.arange(1, curves.shape[1] + 1)
        dashed = "--" if name not in OURS and name != "random" else "-"
        axes.plot(labels, curves.mean(axis=0), dashed, color=color, label=label, linewidth=1.8)
        axes.fill_between(labels, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.12)
    axes.set_xlabel("labels")
    axes.set_ylabel("accuracy on held-out photos")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=12)
    every = ("random", *OURS, *THEIRS)
    parser.add_argument("--only", nargs="+", choices=every, default=every, help="of these ways")
    parser.add_argument("--figure", type=Path, help="draws labels against accuracy")
    parser.add_argument("--peers", type=Path, help="folder with scikit-activeml, if not installed")
    parser.add_argument("--results", type=Path, help="JSON lines; what stands there is not redone")
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    warnings.simplefilter("ignore")
    print(machine(("numpy", "scikit-learn", "scikit-activeml")))
    photos = crop_embeddings.load("plantvillage", options.cache)
    count = len(photos.names)
    done = []
    if options.results and options.results.is_file():
        done = [json.loads(line) for line in options.results.read_text().splitlines()]
    for seed in range(options.seeds):
        for name in options.only:
            if any(row["name"] == name and row["seed"] == seed for row in done):
                continue
            done.append(run(photos, name, seed, options.rounds))
            print(name, seed, np.round(done[-1]["curve"], 3), file=sys.stderr, flush=True)
            if options.results:
                with options.results.open("a") as file:
                    print(json.dumps(done[-1]), file=file)
    print(f"\n{options.seeds} seeds; mean accuracy after so many labels")
    shown = [1, 2, 3, 4, 6, 8, 10, options.rounds]
    print(
        f"{'':18}"
        + "".join(f"{n * count:>7}" for n in shown)
        + "   labels for "
        + "".join(f"{t:>7.0%}" for t in TARGETS)
        + "  seconds/batch"
    )
    for name in options.only:
        rows = [row for row in done if row["name"] == name]
        mean = np.mean([row["curve"] for row in rows], axis=0)
        line = f"{name:18}" + "".join(f"{mean[n - 1]:7.3f}" for n in shown) + " " * 14
        for target in TARGETS:
            needed = [labels_for(row["curve"], target, count) for row in rows]
            line += f"{'–':>7}" if None in needed else f"{np.mean(needed):7.0f}"
        seconds = np.mean([row["seconds"] for row in rows]) / options.rounds
        print(f"{line}{seconds:11.2f}")
    if options.figure:
        draw(done, options.only, count, options.figure)


if __name__ == "__main__":
    main()
