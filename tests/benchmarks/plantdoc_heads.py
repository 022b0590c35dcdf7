"""PlantDoc's photos for benchmarks that train heads only: features once, then many short trainings.

Trainings are those of `cannabis_ml.training.train.fit`, with features looked up in one table of all
photos, so that other rows and other labels cost no pass through the backbone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from cannabis_ml.networks.params import LossParams, ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet, PhotoStream
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training import train
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

HEAD = "leaf"
PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
BACKBONE, SIZE = "tf_efficientnet_lite0", 224
EPOCHS = 12


@dataclass(frozen=True, eq=False)
class PlantDoc:
    """All photos of PlantDoc's training and test folders.

    Attributes:
        labels: Numbers of the classes, int (N,).
        groups: Near-duplicates share a number, int (N,).
        test: Photos of the test folder, without near-duplicates of training photos, rows.
        features: float32 (N, F) of the frozen backbone.
    """

    photo_set: PhotoSet
    taxonomy: Taxonomy
    labels: np.ndarray
    groups: np.ndarray
    test: np.ndarray
    features: np.ndarray

    def fit(
        self,
        split: Mapping[str, np.ndarray],
        labels: np.ndarray | None = None,
        *,
        seed: int = 0,
        epochs: int = EPOCHS,
        label_smoothing: float = LossParams().label_smoothing,
        learning_rate: float = 1e-3,
        **model: Any,
    ) -> Any:
        """Train heads; returns the network.

        Args:
            split: Rows by split, `train` and `validation`.
            labels: In place of the photos' own.
            seed: Of fresh weights, order, dropout and bootstrap.
            epochs: At most; the one with the lowest validation loss is kept.
            label_smoothing: As in `LossParams`.
            learning_rate: As in `Phase`.
            **model: Of `ModelParams`.
        """
        from cannabis_ml.networks.building import restore

        names = np.array(self.taxonomy[HEAD].class_names, object)
        table = self.photo_set.arrow.remove_columns(["split", HEAD])
        splits = np.full(len(table), "calibration", object)
        for name, rows in split.items():
            splits[rows] = name
        table = table.add_column("split", splits.tolist())
        table = table.add_column(HEAD, names[self.labels if labels is None else labels].tolist())
        phase = Phase(name="heads", epochs=epochs, learning_rate=learning_rate, train="heads")
        plan = TrainingPlan(
            ModelParams(backbone=BACKBONE, image_size=SIZE, **model),
            TrainingParams(
                seed=seed,
                patience=epochs,
                accelerator="cpu",
                checkpoint_every=10**9,
                loss=LossParams(label_smoothing=label_smoothing),
            ),
            Schedule(phases=[phase]),
        )
        data = TrainingData.of_split(PhotoSet(table), self.taxonomy)
        with mock.patch.object(train, "cached_features", self._features_of):
            checkpoint, _ = train.fit(data, plan)
        return restore(checkpoint)

    def logits(self, network: Any, rows: np.ndarray) -> dict[str, Any]:
        """Of a network from `fit` for the photos of these rows."""
        import torch

        with torch.inference_mode():
            return network.classify(torch.from_numpy(self.features[rows]))

    def divide(self, seed: int, held_out: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Divide the photos of the training folder at random, near-duplicates together.

        Args:
            seed: Of the draw.
            held_out: Shares by name; what is left is `train`.
        """
        random = np.random.default_rng(seed)
        rows = np.setdiff1d(np.arange(len(self.labels)), self.test)
        rows = rows[~np.isin(self.groups[rows], self.groups[self.test])]
        names = random.permutation(np.unique(self.groups[rows]))
        ends = (np.cumsum(list(held_out.values())) * len(names)).astype(int)
        parts = dict(zip([*held_out, "train"], np.split(names, ends), strict=True))
        return {name: rows[np.isin(self.groups[rows], part)] for name, part in parts.items()}

    def _features_of(self, network: Any, photos: Any, *_: Any) -> np.ndarray:
        return self.features[photos.rows]


def measured(
    results: Path | None, settings: list[dict[str, Any]], measure: Callable[..., dict[str, Any]]
) -> pd.DataFrame:
    """Measure each setting, but those that stand in a file of results already.

    Args:
        results: JSON lines, one per setting, that is added to; None: nowhere.
        settings: Keywords of `measure`.
        measure: Gives numbers.

    Returns:
        One row per setting: its keywords and its numbers.
    """
    known = []
    if results and results.is_file():
        known = [json.loads(line) for line in results.read_text().splitlines()]
    rows = []
    for setting in settings:
        row = next((row for row in known if setting.items() <= row.items()), None)
        if row is None:
            row = {**setting, **measure(**setting)}
            print(json.dumps(row), file=sys.stderr, flush=True)
            if results:
                with results.open("a") as file:
                    print(json.dumps(row), file=file)
        rows.append(row)
    return pd.DataFrame(rows)


def load(folder: Path, cache: Path | None = None) -> PlantDoc:
    """Store the photos, find near-duplicates, compute features.

    Args:
        folder: `plantdoc_256`, with `train/CLASS/` and `test/CLASS/`.
        cache: Where features are kept between calls; None: nowhere.
    """
    from cannabis_ml.datasets.photo_set import PhotoSetDataset
    from cannabis_ml.photo_sets.near_duplicates import cluster
    from cannabis_ml.photos.decode import decode
    from cannabis_ml.photos.phash import fingerprint

    paths = sorted(folder.glob("*/*/*.jpg"))
    if not paths:
        sys.exit(f"no photos in {folder}; set PHOTOS_DIR")
    rows = [(str(p.relative_to(folder)), str(p), p.parent.name) for p in paths]
    table = pd.DataFrame(rows, columns=["photo_id", "path", HEAD])
    table["group"], table["split"] = table["photo_id"], "train"
    classes = sorted(set(table[HEAD]))
    prints = [fingerprint(decode(path.read_bytes())) for path in paths]
    groups = cluster(
        np.array([p.phash or 0 for p in prints], np.uint64),
        np.stack([np.frombuffer(p.thumbnail, np.uint8) for p in prints]),
        valid=np.array([p.phash is not None for p in prints]),
    )
    in_test = np.array([path.parts[-3] == "test" for path in paths])
    test = np.flatnonzero(in_test & ~np.isin(groups, groups[~in_test]))
    scratch = tempfile.mkdtemp()
    stored = PhotoSetDataset(filepath=f"{scratch}/photo_set")
    stored.save(PhotoStream(table, lambda row: Path(row["path"]).read_bytes()))
    photo_set = stored.load()
    order = photo_set.labels("photo_id")["photo_id"].to_list()
    assert order == table["photo_id"].to_list()
    taxonomy = Taxonomy.model_validate({"heads": [{"name": HEAD, "classes": classes}]})
    return PlantDoc(
        photo_set,
        taxonomy,
        pd.Categorical(table[HEAD], categories=classes).codes.astype(int),
        groups,
        test,
        _features(photo_set, taxonomy, cache),
    )


def _features(photo_set: PhotoSet, taxonomy: Taxonomy, cache: Path | None) -> np.ndarray:
    from cannabis_ml.networks.building import build_network
    from cannabis_ml.training.data import Photos
    from cannabis_ml.training.features import compute_features

    key = hashlib.sha256(f"{photo_set.fingerprint} {BACKBONE} {SIZE}".encode()).hexdigest()
    kept = cache / f"{key[:16]}.npy" if cache else None
    if kept and kept.is_file():
        return np.load(kept)
    network, _ = build_network(ModelParams(backbone=BACKBONE, image_size=SIZE), taxonomy)
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(len(photo_set))), SIZE)
    found = compute_features(network, photos, TrainingParams(accelerator="cpu"))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, found)
    return found
