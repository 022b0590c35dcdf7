"""Test-time views: what averaging the answers to several views of a photo brings, and costs.

    kedro run --env folder --pipelines=train --params photos=DIR
    python tests/benchmarks/bench_views.py data/envs/folder [--tier tier3]

Views are the whole photo, its mirror image, and three crops of seven eighths of the side (two
opposite corners and the middle), with and without mirroring. Probabilities are averaged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from finished_run import NEWEST
from machine import machine

from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.network import HierarchicalNet, marginals
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.splits import Split
from cannabis_ml.training.module import channels_last

SHARE = 7 / 8
"""Of the side that a crop has."""

PLACES = (0.0, 0.5, 1.0)
"""Of crops along the diagonal: a corner, the middle, the corner opposite."""

View = Callable[[np.ndarray], np.ndarray]


def crop(place: float) -> View:
    """A square at a place along the diagonal, 0 to 1."""

    def cut(pixels: np.ndarray) -> np.ndarray:
        side = round(SHARE * len(pixels))
        first = round(place * (len(pixels) - side))
        return pixels[first : first + side, first : first + side]

    return cut


def mirrored(view: View) -> View:
    """The same view, left and right exchanged."""
    return lambda pixels: view(pixels)[:, ::-1]


def whole(pixels: np.ndarray) -> np.ndarray:
    """The photo itself."""
    return pixels


CROPS: list[View] = [crop(place) for place in PLACES]
MIRRORED = mirrored(whole)
SETS: dict[str, list[View]] = {
    "whole": [whole],
    "whole, and mirrored": [whole, MIRRORED],
    "whole, three crops": [whole, *CROPS],
    "whole, three crops, all mirrored too": [whole, *CROPS, MIRRORED, *map(mirrored, CROPS)],
}


def main() -> None:
    """Print accuracy and log loss per set of views, for photos held out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tier", default="tier3")
    args = parser.parse_args()
    print(machine())
    path = args.data / "06_models" / args.tier / "checkpoint.safetensors"
    network = channels_last(restore(CheckpointDataset(filepath=str(path), version=NEWEST).load()))
    network.mirrored = False  # views are looked at one by one
    path = args.data / "05_model_input/photo_set"
    photo_set = PhotoSetDataset(filepath=str(path), version=NEWEST).load()
    head = network.taxonomy.heads[0].name
    print(f"| {head} | views | validation and calibration | log loss | test | log loss |")
    print("|---|---|---|---|---|---|")
    known: dict[View, np.ndarray] = {}
    splits = ((Split.VALIDATION, Split.CALIBRATION), (Split.TEST,))
    rows = [photo_set.rows_of(*parts) for parts in splits]
    truths = [photo_set.encode(network.taxonomy, part)[head] for part in rows]
    everything = np.concatenate(rows)
    for name, views in SETS.items():
        for view in views:
            if view not in known:
                known[view] = answers(network, photo_set, everything, view, head)
        probs = np.mean([known[view] for view in views], axis=0)
        cells = []
        for part, truth in zip(np.split(probs, [len(rows[0])]), truths, strict=True):
            labeled = truth >= 0
            own = part[labeled, truth[labeled]]
            right = (part.argmax(1) == truth)[labeled].mean()
            cells += [f"{100 * right:.1f}%", f"{-np.log(np.maximum(own, 1e-9)).mean():.3f}"]
        print(f"| {name} | {len(views)} | {' | '.join(cells)} |", flush=True)


@torch.inference_mode()
def answers(
    network: HierarchicalNet, photo_set: PhotoSet, rows: np.ndarray, view: View, head: str
) -> np.ndarray:
    """Probabilities of one head for one view of each photo, (N, K)."""
    found, size = [], network.image_size
    for batch in np.array_split(rows, -(-len(rows) // 32)):
        square = (center_crop_resize(photo_set.pixels(row), size) for row in batch)
        seen = [center_crop_resize(np.ascontiguousarray(view(one)), size) for one in square]
        photos = torch.from_numpy(np.stack(seen).transpose(0, 3, 1, 2))
        logits = network(photos.contiguous(memory_format=torch.channels_last))
        found.append(marginals(logits, network.taxonomy)[head].numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    main()
