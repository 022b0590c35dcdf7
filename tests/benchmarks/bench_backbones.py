"""Backbones by name: size, time per photo, both exports, and one short training on real photos.

    python tests/benchmarks/bench_backbones.py [--photos DIR] [--size 96] [NAME …]

A NAME is one of timm's; several joined by `+` are fused. Photos lie in class folders. Of each class
the first photos in the order of their names are trained on and the last are for the test, so that
captures of one leaf, which are neighbours, mostly share a split. Where a package has pretrained
weights the heads are trained, then the last three layers too; else everything, from random weights:
such an accuracy shows that the network learns, not what it is worth.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TQDM_DISABLE"] = "1"

import torch
from machine import machine

from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.errors import WeightsError
from cannabis_ml.evaluation.metrics import score
from cannabis_ml.exporting.litert_export import to_litert
from cannabis_ml.exporting.onnx_export import to_onnx, torch_outputs
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.networks.weights import load_backbone
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import LastBlocks, Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.train import fit
from cannabis_ml.training.training_data import TrainingData

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
HEAD = "leaf"
NAMES = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite2",
    "tf_efficientnet_lite0+tf_efficientnet_lite2",
    "efficientnet_b0",
    "efficientnet_b2",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "repvit_m0_9",
    "tiny_vit_5m_224",
    "resnet18",
    "vit_small_patch14_reg4_dinov2",
)
LIBRARIES = ("torch", "timm", "onnxruntime", "litert-torch", "ai-edge-litert")


def photo_set_of(folder, per_class, scratch):
    """Photos of class folders, and their taxonomy."""
    rows = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        files = files[:: max(1, len(files) // per_class)][:per_class]
        if len(files) < per_class:
            continue
        ends = round(0.6 * per_class), round(0.75 * per_class)
        for number, file in enumerate(files):
            split = Split.TRAIN if number < ends[0] else Split.VALIDATION
            split = Split.TEST if number >= ends[1] else split
            rows.append((f"{place.name}/{file.name}", str(file), str(split), place.name))
    table = pd.DataFrame(rows, columns=["photo_id", "path", "split", HEAD])
    table["group"] = table["photo_id"]
    stored = PhotoSetDataset(filepath=f"{scratch}/photo_set")
    stored.save(PhotoStream(table, lambda row: Path(row["path"]).read_bytes()))
    classes = sorted(set(table[HEAD]))
    return stored.load(), Taxonomy.model_validate({"heads": [{"name": HEAD, "classes": classes}]})


def trained(name, data, size, epochs):
    """A checkpoint after a short training, where its weights came from, and CPU seconds."""
    params = ModelParams(backbone=name, image_size=size, weights=["package"])
    try:
        load_backbone(params)
    except WeightsError:
        params = ModelParams(backbone=name, image_size=size, weights=["random"])
        phases = [Phase(name="all", epochs=epochs, learning_rate=1e-3, train="all")]
    else:
        phases = [
            Phase(name="heads", epochs=8, learning_rate=1e-3, train="heads"),
            Phase(name="top", epochs=1, learning_rate=1e-3, train=LastBlocks(last_blocks=3)),
        ]
    training = TrainingParams(accelerator="cpu", checkpoint_every=10**9)
    began = time.process_time()
    checkpoint, _ = fit(data, TrainingPlan(params, training, Schedule(phases=phases)))
    return checkpoint, params.weights[0].kind, time.process_time() - began


def exported(checkpoint, pixels):
    """Per format: megabytes, milliseconds per photo on one thread, largest difference."""
    expected = torch_outputs(checkpoint, list(pixels))
    for make in (to_onnx, to_litert):
        model = make(checkpoint)
        opened = open_model(model, threads=1)
        given = opened.invoke(pixels)
        apart = max(
            float(np.abs(given[name] - values).max() / max(1, np.abs(values).max()))
            for name, values in expected.items()
        )
        times = []
        for _ in range(9):
            began = time.perf_counter()
            opened.invoke(pixels[:1])
            times.append(time.perf_counter() - began)
        yield len(model.data) / 1e6, 1e3 * float(np.median(times)), apart


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--photos", type=Path, default=PHOTOS_DIR / "plantvillage_subset")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=2, help="from random weights")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(machine(LIBRARIES))
    with tempfile.TemporaryDirectory() as scratch:
        photos, taxonomy = photo_set_of(options.photos, options.per_class, scratch)
        data = TrainingData.of_split(photos, taxonomy)
        test = photos.rows_of(Split.TEST)
        print(f"{len(data)} photos, {len(taxonomy[HEAD].classes)} classes, {options.size} px\n")
        print("| backbone | parameters | weights | training, CPU s | accuracy | ONNX | TFLite |")
        print("|---|---|---|---|---|---|---|")
        truth = photos.labels()
        for name in options.names:
            parts = name.split("+")
            backbone = parts[0] if len(parts) == 1 else parts
            checkpoint, source, seconds = trained(backbone, data, options.size, options.epochs)
            table = predict(checkpoint, photos, [Split.TEST])
            accuracy = score(table, truth, taxonomy)[HEAD].accuracy
            count = sum(p.numel() for p in restore(checkpoint).backbone.parameters()) / 1e6
            sample = photos_at(photos, test[:2], options.size)
            files = [
                f"{size:.1f} MB, {ms:.1f} ms, {apart:.0e}"
                for size, ms, apart in exported(checkpoint, sample)
            ]
            cells = [f"{count:.1f} M", source, f"{seconds:.0f}", f"{accuracy:.1%}", *files]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def photos_at(photos, rows, size):
    from cannabis_ml.photos.resize import center_crop_resize

    return np.stack([center_crop_resize(photos.pixels(row), size) for row in rows])


if __name__ == "__main__":
    main()
