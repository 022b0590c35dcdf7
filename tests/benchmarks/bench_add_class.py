"""Four classes added one by one to heads on frozen features of PlantDoc: accuracy and seconds.

    python tests/benchmarks/bench_add_class.py [--photos DIR] [--seeds 3] [--cache DIR]

Each seed divides PlantDoc's training folder anew, near-duplicates together: 60% to learn from, 15%
that choose penalties and epochs, 25% that are judged. Four classes of at least 40 photos, drawn by
the seed, come after all others were learned. Accuracy of old classes is that of the first 23, with
all classes to choose from that there are by then. It falls however one learns, as there is more to
choose from: "anew" says by how much, and forgetting is what is lost beyond that.

- closed form: ridge on the Gram matrix, `feedback.closed_form`; and after a random projection to
  2,000 (RanPAC).
- grown: one output more, old weights kept, 3 epochs on new photos and up to 1,000 old ones,
  balanced.
- naive: the same on new photos alone.
- anew: heads from random weights on all photos, 12 epochs.

Seconds are of one step, from features that are there, the mean over the four.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import plantdoc_heads
from machine import machine
from plantdoc_heads import BACKBONE, HEAD, SIZE

from cannabis_ml.feedback.closed_form import ClosedFormHead, EmbeddedPhotos, RandomProjection
from cannabis_ml.feedback.rehearsal import rehearsal_rows
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training import train
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

NEW = 4
FEWEST = 40


def embedded(photos, rows):
    names = np.array(photos.taxonomy[HEAD].class_names, object)
    return EmbeddedPhotos(
        tuple(f"photo {row}" for row in rows),
        photos.features[rows],
        tuple(names[photos.labels[rows]]),
    )


def taxonomy_of(names):
    return Taxonomy.model_validate({"heads": [{"name": HEAD, "classes": list(names)}]})


def train_heads(photos, names, rows, validation, epochs, start=None, learning_rate=1e-3):
    """Heads on features by the project's loop; returns the checkpoint."""
    known = taxonomy_of(names)
    splits = np.full(len(photos.labels), "calibration", object)
    splits[validation], splits[rows] = "validation", "train"
    table = photos.photo_set.arrow.remove_columns(["split"]).add_column("split", splits.tolist())
    phase = Phase(name="heads", epochs=epochs, learning_rate=learning_rate, train="heads")
    plan = TrainingPlan(
        ModelParams(backbone=BACKBONE, image_size=SIZE, attention=False),
        TrainingParams(patience=epochs, accelerator="cpu", checkpoint_every=10**9),
        Schedule(phases=[phase]),
        start,
    )
    data = replace(TrainingData.of_split(PhotoSet(table), known), rows=np.asarray(rows))
    features = lambda network, chosen, *_: photos.features[chosen.rows]  # noqa: E731
    with mock.patch.object(train, "cached_features", features):
        return train.fit(data, plan)[0]


def answers_of(photos, checkpoint, rows):
    import torch

    network = restore(checkpoint)
    with torch.inference_mode():
        logits = network.classify(torch.from_numpy(photos.features[rows]))[HEAD]
    probs = logits.softmax(dim=2).mean(dim=1).numpy()
    return np.array(network.taxonomy[HEAD].class_names, object)[probs.argmax(axis=1)]


def judged(answers, truth, old, new):
    right = answers == truth
    return {
        "old": float(right[np.isin(truth, old)].mean()),
        "new": float(right[np.isin(truth, new)].mean()) if new else float("nan"),
    }


class ByClosedForm:
    def __init__(self, photos, projection):
        self.photos, self.projection = photos, projection

    def begin(self, names, rows, validation):
        self.head = ClosedFormHead.of(embedded(self.photos, rows), self.projection)
        self.solve(names, validation)

    def add(self, names, rows, fresh, validation):
        self.head = self.head.with_photos(embedded(self.photos, fresh))
        self.solve(names, validation)

    def solve(self, names, validation):
        self.found, _, _ = self.head.fitted(embedded(self.photos, validation), names)

    def answers(self, rows):
        scores = self.found.scores(self.head.inputs(self.photos.features[rows]))
        return np.array(self.found.classes, object)[scores.argmax(axis=1)]


class ByTraining:
    """`how`: grown, naive or anew."""

    def __init__(self, photos, how, first):
        self.photos, self.how, self.checkpoint = photos, how, first

    def begin(self, names, rows, validation):
        pass

    def add(self, names, rows, fresh, validation):
        if self.how == "anew":
            every = np.concatenate([rows, fresh])
            self.checkpoint = train_heads(self.photos, names, every, validation, 12)
            return
        chosen = fresh
        if self.how == "grown":
            chosen = rehearsal_rows(self.photos.labels, rows, fresh, most=1000, seed=0)
        self.checkpoint = train_heads(
            self.photos, names, chosen, validation, 3, self.checkpoint, learning_rate=1e-3
        )

    def answers(self, rows):
        return answers_of(self.photos, self.checkpoint, rows)


def measure(photos, seed):
    random = np.random.default_rng(seed)
    split = photos.divide(seed, {"validation": 0.15, "judged": 0.25})
    names = np.array(photos.taxonomy[HEAD].class_names, object)
    counts = np.bincount(photos.labels[split["train"]], minlength=len(names))
    late = random.permutation(np.flatnonzero(counts >= FEWEST * 0.6))[:NEW]
    old = [str(n) for k, n in enumerate(names) if k not in late]

    def rows_with(part, known):
        return split[part][np.isin(names[photos.labels[split[part]]], known)]

    start = time.perf_counter()
    first = train_heads(photos, old, rows_with("train", old), rows_with("validation", old), 12)
    first_seconds = time.perf_counter() - start
    width = photos.features.shape[1]
    ways = {
        "ridge": ByClosedForm(photos, None),
        "projection": ByClosedForm(photos, RandomProjection(width, 2000, seed)),
        "grown": ByTraining(photos, "grown", first),
        "naive": ByTraining(photos, "naive", first),
        "anew": ByTraining(photos, "anew", first),
    }
    found = []
    for way, model in ways.items():
        rows, validation = rows_with("train", old), rows_with("validation", old)
        model.begin(old, rows, validation)
        test = rows_with("judged", old)
        before = judged(model.answers(test), names[photos.labels[test]], old, [])["old"]
        known, spent = list(old), []
        for k in late:
            known = [*known, str(names[k])]
            fresh = rows_with("train", [names[k]])
            start = time.perf_counter()
            model.add(known, rows, fresh, rows_with("validation", known))
            spent.append(time.perf_counter() - start)
            rows = np.concatenate([rows, fresh])
        test = rows_with("judged", known)
        after = judged(model.answers(test), names[photos.labels[test]], old, known[len(old) :])
        row = {"seed": seed, "way": way, "before": before, **after, "seconds": np.mean(spent)}
        row["first"] = first_seconds
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    return found


def main():
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=plantdoc_heads.PHOTOS_DIR / "plantdoc_256")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder that keeps features")
    options = parser.parse_args()
    print(machine(("torch", "timm", "numpy", "scipy")))
    photos = plantdoc_heads.load(options.photos, options.cache)
    rows = [row for seed in range(options.seeds) for row in measure(photos, seed)]
    table = pd.DataFrame(rows).set_index(["way", "seed"])
    anew = table.loc["anew", "old"]
    means = table.groupby("way", sort=False).mean()
    print(f"\nmeans over {options.seeds} seeds; accuracy in %, of old classes before and after")
    print(f"{'':20}{'before':>9}{'after':>9}{'new':>9}{'lost':>9}{'beyond anew':>20}{'seconds':>9}")
    for way, row in means.iterrows():
        beyond = 100 * (anew - table.loc[way, "old"])
        error = beyond.std(ddof=1) / len(beyond) ** 0.5
        print(
            f"{way:20}{100 * row['before']:9.1f}{100 * row['old']:9.1f}{100 * row['new']:9.1f}"
            f"{100 * (row['before'] - row['old']):9.1f}{beyond.mean():+13.1f} ± {error:.1f}"
            f"{row['seconds']:9.2f}"
        )


if __name__ == "__main__":
    main()
