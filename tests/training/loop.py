"""Trains on a small photo set in a process of its own, to be killed and started again."""

import os
import sys
import time

import cv2
import datasets
import numpy as np
import torch

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy

SIDE = 64

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "colour", "classes": ["red", "green", "blue"]},
            {"name": "shade", "kind": "ordinal", "classes": ["pale", "middle", "deep", "dark"]},
            {"name": "marks", "kind": "multilabel", "classes": ["line", "dot"]},
        ]
    }
)


def draw_photo_set(count=32, complete=False):
    """Photos of which every fourth validates; every fifth lacks a label, unless complete."""
    random = np.random.default_rng(0)
    rows = [_row(i, random, complete) for i in range(count)]
    features = {
        "photo_id": datasets.Value("string"),
        "image": datasets.Image(),
        "split": datasets.Value("string"),
        "colour": datasets.Value("string"),
        "shade": datasets.Value("string"),
        "marks.line": datasets.Value("int8"),
        "marks.dot": datasets.Value("int8"),
    }
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


def _row(i, random, complete):
    colour, shade, line, dot = i % 3, (i // 3) % 4, i % 2, (i // 2) % 2
    pixels = random.integers(0, 40, (SIDE, SIDE + 8, 3), dtype=np.uint8)
    pixels[..., colour] += np.uint8(200 - 45 * shade)
    if line:
        pixels[28:34] = 255
    if dot:
        pixels[5:20, 5:20] = 0
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    missing = -1 if complete else i % 5
    return {
        "photo_id": f"{i:064x}",
        "image": {"bytes": data, "path": None},
        "split": "validation" if i % 4 == 3 else "train",
        "colour": None if missing == 0 else TAXONOMY["colour"].class_names[colour],
        "shade": None if missing == 1 else TAXONOMY["shade"].class_names[shade],
        "marks.line": None if missing == 2 else line,
        "marks.dot": None if missing == 3 else dot,
    }


def main(backbone_file, workspace, result):
    """Train; write the final weights to `result`.

    $DIE_AT: kill the process at that step; of a workspace in a bucket, once a state is there.
    """
    from cannabis_ml._io.remote import RemotePath, is_remote
    from cannabis_ml.datasets.checkpoint import CheckpointDataset
    from cannabis_ml.datasets.workspace import WorkspaceDataset
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.training import module, train
    from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
    from cannabis_ml.training.training_data import TrainingData

    torch.set_num_threads(1)
    die_at = int(os.environ.get("DIE_AT", "-1"))
    step = module.PhotoModule.optimizer_step

    def mortal(self, *args, **kwargs):
        step(self, *args, **kwargs)
        if self.global_step == die_at:
            while is_remote(workspace) and not RemotePath.at(workspace).files():
                time.sleep(0.01)
            os.kill(os.getpid(), 9)

    module.PhotoModule.optimizer_step = mortal
    model = ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=[{"file": backbone_file}],
        ensemble=2,
        dropout=0.3,
    )
    training = TrainingParams(
        batch_size=8,
        checkpoint_every=int(os.environ.get("EVERY", "2")),
        mixup=0.2,
        workers=int(os.environ.get("WORKERS", "0")),
    )
    schedule = Schedule.model_validate(
        {
            "phases": [
                {"name": "heads", "epochs": 2, "learning_rate": 3e-3, "train": "heads"},
                {"name": "top", "epochs": 2, "learning_rate": 3e-3, "train": {"last_blocks": 2}},
                {"name": "all", "epochs": 1, "learning_rate": 1e-3, "train": "all"},
            ]
        }
    )
    checkpoint, history = train.fit(
        TrainingData.of_split(draw_photo_set(), TAXONOMY),
        TrainingPlan(model, training, schedule),
        WorkspaceDataset(filepath=workspace, seconds=0.02).load(),
    )
    CheckpointDataset(filepath=result).save(checkpoint)
    history.drop(columns="seconds").to_csv(f"{result}.csv", index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
