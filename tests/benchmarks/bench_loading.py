"""Data loading alone against torchvision: photos per second of one worker.

    python tests/benchmarks/bench_loading.py [--photos DIR] [--count 512] [--rounds 5]

From the stored photo to a batch of 32 at 224 px: decode, random crop (0.7 to 1 of the area),
mirror, brightness and contrast, stack. Ours reads the Arrow photo set, torchvision's ImageFolder
the same JPEG bytes as files in class folders. Ours ends in uint8, as the network takes it;
`transforms` ends in float by ToTensor, as everyone writes it; `uint8` is the same without the
conversion, and `v2 tensors` lets torchvision work on uint8 tensors instead of Pillow images.
Both sides average over areas where they shrink.

Once in this process, held to one thread, and once in one worker process; each side has had a pass
over the photos before the clock starts. CPU time, of this process alone, tells more than the wall
where other work runs.

Photos of 512 px are those of 256 px enlarged, with the noise of a sensor, stored at the photo
set's quality.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ["TQDM_DISABLE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import pandas as pd
from machine import machine

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

import torch  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torchvision import transforms  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from cannabis_ml.datasets.photo_set import PhotoSetDataset  # noqa: E402
from cannabis_ml.photo_sets.photo_set import PhotoStream  # noqa: E402
from cannabis_ml.photo_sets.store_params import StoreParams  # noqa: E402
from cannabis_ml.taxonomy import Taxonomy  # noqa: E402
from cannabis_ml.training.data import Photos, make_loader  # noqa: E402
from cannabis_ml.training.schedule import TrainingParams  # noqa: E402
from cannabis_ml.training.training_data import TrainingData  # noqa: E402

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
LIBRARIES = ("torch", "torchvision", "opencv-python-headless", "pillow", "datasets", "pyarrow")
SIZE, BATCH = 224, 32
WANTED = 1.5


def theirs(root, workers, transform):
    return DataLoader(
        ImageFolder(root, transform),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def peers():
    """torchvision's ways to do the same, by name."""
    change = TrainingParams().brightness
    crop = {"size": SIZE, "scale": (TrainingParams().crop_scale, 1.0)}
    pixels = [
        transforms.RandomResizedCrop(**crop),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=change, contrast=change),
    ]
    tensors = [
        v2.ToImage(),
        v2.RandomResizedCrop(**crop, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=change, contrast=change),
    ]
    return {
        "transforms": transforms.Compose([*pixels, transforms.ToTensor()]),
        "uint8": transforms.Compose([*pixels, transforms.PILToTensor()]),
        "v2 tensors": v2.Compose(tensors),
    }


def ours(folder, workers):
    photo_set = PhotoSetDataset(filepath=str(folder)).load()
    classes = sorted(set(photo_set.labels("label")["label"]))
    taxonomy = Taxonomy(heads=[{"name": "label", "classes": classes}])
    photos = Photos(
        TrainingData(photo_set, taxonomy, np.arange(len(photo_set))), SIZE, TrainingParams()
    )
    return make_loader(photos, batch_size=BATCH, workers=workers, shuffle=True)


def stored(sources, side, folder):
    """The same JPEG bytes twice: files in class folders, and a photo set."""
    root, rows = folder / f"files_{side}", []
    for at, source in enumerate(sources):
        data = source.read_bytes() if side == 256 else enlarged(source, side, at)
        path = root / source.parent.name / f"{at}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        photo_id = hashlib.sha256(data).hexdigest()
        rows.append((photo_id, str(path), photo_id, "train", source.parent.name))
    table = pd.DataFrame(rows, columns=["photo_id", "path", "group", "split", "label"])
    arrow = folder / f"set_{side}"
    photo_set = PhotoSetDataset(filepath=str(arrow))
    photo_set.save(PhotoStream(table, lambda row: Path(row["path"]).read_bytes()))
    return root, arrow


def enlarged(source, side, seed):
    pixels = cv2.resize(cv2.imread(str(source)), (side, side), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, 3, (side, side, 1))
    pixels = (pixels + noise).clip(0, 255).astype(np.uint8)
    how = [cv2.IMWRITE_JPEG_QUALITY, StoreParams().quality]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", pixels, how)[1].tobytes()


def epoch(loader):
    """Wall and CPU seconds, and photos, of a pass."""
    cpu, wall, seen = time.process_time(), time.perf_counter(), 0
    for batch in loader:
        seen += len(batch[0])
    return time.perf_counter() - wall, time.process_time() - cpu, seen


def compare(root, arrow, workers, rounds):
    loaders = {name: theirs(root, workers, way) for name, way in peers().items()}
    loaders = {"ours": ours(arrow, workers), **loaders}
    passes = {name: [] for name in loaders}
    for turn in range(rounds + 1):
        for name, loader in loaders.items():
            taken = epoch(loader)
            if turn:  # the first pass warms up
                passes[name].append(taken)
    where = "one worker process" if workers else "in this process"
    print(f"  {where:22}{'photos/s':>10}{'CPU ms per photo':>19}{'ours is faster by':>20}")
    wall = {name: median(t / n for t, _, n in passes[name]) for name in loaders}
    cpu = {name: median(t / n for _, t, n in passes[name]) for name in loaders}
    for name in loaders:
        by = f"{wall[name] / wall['ours']:.2f}x" if name != "ours" else f"wanted {WANTED}x"
        # A worker's CPU time is not this process's.
        spent = "" if workers else f"{cpu[name] * 1e3:.2f} ({cpu[name] / cpu['ours']:.2f}x)"
        print(f"  {name:22}{1 / wall[name]:10,.0f}{spent:>19}{by:>20}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS_DIR / "plantdoc_256" / "train")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = sorted(options.photos.glob("*/*.jpg"))
    if not found:
        sys.exit(f"no JPEG in class folders of {options.photos}: give a folder with --photos")
    found = found[:: max(1, len(found) // options.count)][: options.count]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(machine(LIBRARIES))
    with tempfile.TemporaryDirectory() as scratch:
        for side in (256, 512):
            root, arrow = stored(found, side, Path(scratch))
            size = sum(path.stat().st_size for path in root.rglob("*.jpg")) / len(found) / 1e3
            print(f"\n{len(found)} photos of {side} px, {size:.0f} kB each")
            for workers in (0, 1):
                compare(root, arrow, workers, options.rounds)


if __name__ == "__main__":
    main()
