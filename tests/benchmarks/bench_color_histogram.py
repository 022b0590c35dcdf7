"""Does the trained model see more than colours? Against chance and a linear model on histograms.

    python tests/benchmarks/bench_color_histogram.py [--env ENV] [--photos 0]

Takes the photo set, the taxonomy and the metrics of every trained tier from the catalog: run
`kedro run` first. Without a trained tier the baselines stand alone. The histogram model learns
from the same training photos, chooses its strength and its thresholds on the validation photos
and is scored by the same functions on the same test photos as the tiers. Chance says the most
frequent class of the training photos, and each attribute with its frequency.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

from cannabis_ml.evaluation.metrics import score
from cannabis_ml.evaluation.scores import HeadScores
from cannabis_ml.evaluation.thresholds import choose_thresholds
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy
from cannabis_ml.tiers import TIERS

PROJECT = Path(__file__).parents[2]
BINS = (12, 6, 6)
"""Of hue, saturation and value."""

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation of the linear model; the best on validation photos is taken."""

MAIN_METRIC = {
    "multiclass": "accuracy",
    "ordinal": "quadratic_weighted_kappa",
    "multilabel": "mean_average_precision",
}
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", *list(MAIN_METRIC.values())[1:])


def color_histogram(pixels: np.ndarray) -> np.ndarray:
    """Square roots of the shares of pixels per colour, which makes rare colours count.

    Args:
        pixels: uint8 RGB (H, W, 3).

    Returns:
        float32 (12 * 6 * 6 + 3 * 16,): joint bins of hue, saturation and value, and finer bins of
        each of red, green and blue.
    """
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    joint = cv2.calcHist([hsv], [0, 1, 2], None, BINS, [0, 180, 0, 256, 0, 256]).ravel()
    single = [cv2.calcHist([pixels], [c], None, [16], [0, 256]).ravel() for c in range(3)]
    return np.sqrt(np.concatenate([joint, *single]) / pixels[..., 0].size).astype(np.float32)


def linear_predictions(
    features: np.ndarray, labels: pd.DataFrame, taxonomy: Taxonomy
) -> pd.DataFrame:
    """Predictions of every photo, as a tier makes them, by logistic regressions."""
    found = labels[["photo_id", "split"]].copy()
    splits = labels["split"].to_numpy()
    for head in taxonomy.heads:
        truth = taxonomy.encode(labels)[head.name]
        if head.kind == "multilabel":
            columns = [
                _fit_best(features, truth[:, k], splits, 2)[:, 1] for k in range(len(truth[0]))
            ]
            probs = np.stack(columns, axis=1)
        else:
            known = np.where(truth == MISSING, np.nan, truth)
            probs = _fit_best(features, known, splits, len(head.classes))
        found[head.name] = list(probs)
    return found


def chance_predictions(labels: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """The frequencies of the training photos, for every photo."""
    found = labels[["photo_id", "split"]].copy()
    truths = taxonomy.encode(labels[labels["split"] == "train"])
    for head in taxonomy.heads:
        found[head.name] = [_frequencies(head, truths[head.name])] * len(found)
    return found


def _frequencies(head: Head, truth: np.ndarray) -> np.ndarray:
    if head.kind == "multilabel":
        return np.nan_to_num(np.nanmean(truth, axis=0))
    counts = np.bincount(truth[truth != MISSING], minlength=len(head.classes))
    return counts / max(1, counts.sum())


def _fit_best(
    features: np.ndarray, truth: np.ndarray, splits: np.ndarray, classes: int
) -> np.ndarray:
    """(N, classes) of the strength with the best likelihood of the validation labels."""
    train = (splits == "train") & ~np.isnan(truth)
    judge = (splits == "validation") & ~np.isnan(truth)
    seen = np.unique(truth[train]).astype(int)
    every = np.zeros((len(features), classes))
    if len(seen) < 2:
        every[:, seen] = 1.0
        return every

    def fit(strength: float) -> Pipeline:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        return model.fit(features[train], truth[train].astype(int))

    def likelihood(model: Pipeline) -> float:
        probs = np.full((judge.sum(), classes), 1e-6)
        probs[:, seen] += model.predict_proba(features[judge])
        return float(np.log(probs[np.arange(len(probs)), truth[judge].astype(int)]).sum())

    models = [fit(strength) for strength in STRENGTHS]
    every[:, seen] = max(models, key=likelihood if judge.any() else lambda _: 0).predict_proba(
        features
    )
    return every


def _scores(
    predictions: pd.DataFrame, labels: pd.DataFrame, taxonomy: Taxonomy
) -> dict[str, HeadScores]:
    by_split = dict(list(predictions.groupby("split")))
    none = predictions.iloc[:0]
    thresholds = choose_thresholds(by_split.get("validation", none), labels, taxonomy)
    return score(by_split.get("test", none), labels, taxonomy, thresholds)


def _from_catalog(env: str | None) -> tuple[Any, Taxonomy, dict[str, dict[str, HeadScores]]]:
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.io import DatasetError

    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=env) as session:
        catalog = session.load_context().catalog
        photo_set, taxonomy = catalog.load("photo_set"), catalog.load("taxonomy")
        tiers = {}
        for tier in TIERS:
            try:
                tiers[tier.name] = catalog.load(f"{tier.name}.test_metrics").heads
            except DatasetError:
                continue
    return photo_set, taxonomy, tiers


def _lines(sides: dict[str, dict[str, HeadScores]], taxonomy: Taxonomy) -> Iterator[str]:
    yield f"{'head':<16}{'metric':<26}" + "".join(f"{name:>18}" for name in sides)
    for head in taxonomy.heads:
        for metric in SHOWN:
            values = [getattr(side.get(head.name), metric, None) for side in sides.values()]
            if any(value is not None for value in values):
                cells = "".join(f"{'–' if v is None else f'{v:.3f}':>18}" for v in values)
                mark = " *" if metric == MAIN_METRIC[head.kind] else ""
                yield f"{head.name:<16}{metric + mark:<26}{cells}"
    yield "* what the head is judged by"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", help="environment of the catalog, as of `kedro run --env`")
    parser.add_argument("--photos", type=int, default=0, help="take only the first; 0: all")
    options = parser.parse_args()

    cv2.setNumThreads(1)
    photo_set, taxonomy, tiers = _from_catalog(options.env)
    if options.photos:
        first = range(min(options.photos, len(photo_set)))
        photo_set = PhotoSet(photo_set.arrow.select(first))
    labels = photo_set.labels()
    features = np.stack([color_histogram(photo_set.pixels(row)) for row in range(len(photo_set))])
    counts = labels["split"].value_counts()
    print(machine())
    print("photos: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()) + "\n")
    sides = {
        "chance": _scores(chance_predictions(labels, taxonomy), labels, taxonomy),
        "colour histogram": _scores(
            linear_predictions(features, labels, taxonomy), labels, taxonomy
        ),
        **tiers,
    }
    print("\n".join(_lines(sides, taxonomy)))
    if not tiers:
        print("No tier is trained yet: kedro run, then again.")


if __name__ == "__main__":
    main()
