"""Augmentation against the obvious script: Pillow open, albumentations, Pillow save.

    python tests/benchmarks/bench_augmentation.py [--photos DIR] [--phone 12] [--small 2000]

Both sides make the same number of copies of the same files by the same transforms: 224 pixels,
JPEG quality 95, colour at full resolution, one worker per core. The obvious side applies the
pipeline to the whole photo; it averages over areas where it shrinks, as ours does, since plain
bilinear sampling of a phone photo looks at one pixel in a hundred. Ours is what `kedro run` does:
from the files through the stored photo set to the stored copies, and for photos that are small
already, from the stored set. The processes of both sides are up before the clock starts; `kedro
run` has its own come up after the first 2,000 photos. `direct` makes the copies from the files
and stores no photo set, which training needs.

Phone photos are real photos brought to 12 megapixels, with noise, at quality 90 and 4:2:0.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import pandas as pd
from machine import machine
from PIL import Image

from cannabis_ml._io.parallel import available_workers, map_in_order
from cannabis_ml._io.processes import Helpers
from cannabis_ml.datasets import augmented
from cannabis_ml.datasets.augmented import AugmentedPhotosDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.augment import make_copies, one_thread_per_call
from cannabis_ml.photos.augmentation_params import AugmentationParams
from cannabis_ml.photos.augmentation_policy import Policy
from cannabis_ml.pipelines.augmentation.nodes import augment_photos
from cannabis_ml.pipelines.ingestion.nodes import store_photos
from cannabis_ml.taxonomy import Taxonomy

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
LIBRARIES = ("albumentations", "opencv-python-headless", "pillow", "numpy", "pyarrow")
TAXONOMY = Taxonomy(heads=[{"name": "label", "classes": ["a", "b"]}])
ROUNDS = 3

_compose = None


def start_obvious(area):
    """One pipeline per process, as anyone would."""
    global _compose  # noqa: PLW0603
    import albumentations as a

    _compose = a.Compose(
        [
            a.RandomResizedCrop(
                (224, 224), scale=(0.7, 1.0), area_for_downscale="image" if area else None
            ),
            a.HorizontalFlip(p=0.5),
            a.VerticalFlip(p=0.2),
            a.Rotate((-30, 30), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            a.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.1, 0.1), p=0.8),
            a.OneOf([a.GaussianBlur((3, 3), p=1), a.MotionBlur((3, 3), p=1)], p=0.2),
            a.CoarseDropout((8, 8), (20, 20), (20, 20), p=0.1),
            a.RandomBrightnessContrast(0.2, 0.2, p=0.5),
            a.RandomShadow((0, 0, 1, 1), (1, 2), 3, (0.3, 0.6), p=0.2),
        ]
    )


def obvious(path, folder, copies):
    pixels = np.array(Image.open(path).convert("RGB"))
    for k in range(copies):
        copy = Image.fromarray(_compose(image=pixels)["image"])
        copy.save(Path(folder) / f"{Path(path).stem}_{k}.jpg", quality=95, subsampling=0)


def cpu(_=None):
    used = resource.getrusage(resource.RUSAGE_SELF)
    return os.getpid(), used.ru_utime + used.ru_stime


class Obvious:
    def __init__(self, files, copies, workers, area):
        self.files, self.copies, self.workers = files, copies, workers
        self.pool = ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=start_obvious, initargs=(area,)
        )

    def run(self, folder):
        work = partial(obvious, folder=str(folder), copies=self.copies)
        list(self.pool.map(work, self.files, chunksize=max(1, len(self.files) // 20)))

    def cpu(self):
        """CPU seconds of the workers so far; asked so often that each has answered."""
        return sum(dict(self.pool.map(cpu, range(200))).values())


class Warm(Helpers):
    """Processes that stay up from one run to the next."""

    def __exit__(self, *_):
        pass

    def cpu(self):
        return sum(dict(self._pool.submit(cpu).result() for _ in range(200)).values())


def warm(workers, photo):
    helpers = Warm(workers, start_after=0)
    while helpers.run(os.getpid) == os.getpid():
        time.sleep(0.05)
    for _ in range(20):
        helpers.run(make_copies, photo, [0], Policy())
    return helpers


class Direct:
    """Copies straight from the files, without storing anything but them."""

    def __init__(self, files, copies, workers):
        self.files, self.copies, self.workers = files, copies, workers

    def run(self, folder):
        def work(path):
            made = make_copies(Path(path).read_bytes(), range(self.copies), Policy())
            for k, copy in enumerate(made):
                (folder / f"{Path(path).stem}_{k}.jpg").write_bytes(copy)

        with one_thread_per_call():
            for _ in map_in_order(work, self.files, self.workers):
                pass

    def cpu(self):
        return cpu()[1]


class Ours:
    def __init__(self, files, copies, workers, *, from_files):
        self.helpers = warm(workers, Path(files[0]).read_bytes())
        augmented.Helpers = lambda _: self.helpers
        self.store = StoreParams(workers=workers)
        self.params = AugmentationParams(copies=copies, workers=workers)
        self.photos = table(files)
        self.stored = None
        if not from_files:
            self.stored = Path(tempfile.mkdtemp()) / "photo_set"
            self._store(self.stored)

    def _store(self, folder):
        PhotoSetDataset(filepath=str(folder)).save(store_photos(self.photos, TAXONOMY, self.store))

    def run(self, folder):
        stored = self.stored or folder / "photo_set"
        if self.stored is None:
            self._store(stored)
        photo_set = PhotoSetDataset(filepath=str(stored)).load()
        AugmentedPhotosDataset(filepath=str(folder / "copies")).save(
            augment_photos(photo_set, TAXONOMY, self.params)
        )

    def cpu(self):
        return cpu()[1] + self.helpers.cpu()


def table(files):
    ids = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
    columns = {"photo_id": ids, "path": files, "group": ids, "split": "train", "label": "a"}
    return pd.DataFrame(columns)


def compare(title, files, copies, *, from_files, least):
    workers = available_workers()
    sides = {
        "obvious": Obvious(files, copies, workers, area=from_files),
        "ours": Ours(files, copies, workers, from_files=from_files),
    }
    if from_files:
        sides["direct"] = Direct(files, copies, workers)
    wall = {name: [] for name in sides}
    used = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                before, start = side.cpu(), time.perf_counter()
                side.run(Path(folder))
                taken = time.perf_counter() - start
                spent = side.cpu() - before
            if turn:  # the first round warms up
                wall[name].append(taken)
                used[name].append(spent)
    made = len(files) * copies
    print(f"\n{title}: {len(files)} photos, {copies} copies each, {workers} workers")
    print(f"{'':10}{'copies/s per core':>20}{'CPU ms per copy':>18}")
    for name in sides:
        rate = made / median(wall[name]) / workers
        print(f"{name:10}{rate:20,.1f}{median(used[name]) / made * 1000:18.2f}")
    by_wall = median(wall["obvious"]) / median(wall["ours"])
    by_cpu = median(used["obvious"]) / median(used["ours"])
    print(f"{'ratio':10}{by_wall:19.2f}x{by_cpu:17.2f}x   wanted: {least}x")
    sides["obvious"].pool.shutdown()
    sides["ours"].helpers._pool.shutdown()


def phone_photos(sources, count, folder):
    """Real photos brought to 4032 x 3024, with the noise of a small sensor."""
    noise = np.random.default_rng(0)
    paths = []
    for at in range(count):
        small = cv2.imread(str(sources[at % len(sources)]))
        large = cv2.resize(small, (4032, 3024), interpolation=cv2.INTER_CUBIC)
        grain = noise.normal(0, 5, large.shape[:2]).astype(np.float32)[..., None]
        large = np.clip(large + grain, 0, 255).astype(np.uint8)
        paths.append(str(folder / f"phone_{at}.jpg"))
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        cv2.imwrite(paths[-1], large, [cv2.IMWRITE_JPEG_QUALITY, 90, *sampling])
    return paths


def peak_memory(folder, sizes, sources):
    """Peak resident memory of a process that augments; the set is written by another one."""
    print("\nPeak resident memory of augmentation, 2 copies each")
    peaks: list[float] = []
    images = [Path(source).read_bytes() for source in sources]
    for size in sizes:
        rows = pd.DataFrame(
            {
                "photo_id": [hashlib.sha256(str(i).encode()).hexdigest() for i in range(size)],
                "path": [str(i) for i in range(size)],
                "group": "g",
                "split": "train",
                "label": "a",
            }
        )
        where = folder / f"set_{size}"
        PhotoSetDataset(filepath=str(where)).save(
            PhotoStream(rows, lambda row: images[int(row["path"]) % len(images)], 1)
        )
        # Through a shell: a process inherits the peak of the one that starts it, here a large one.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, __file__]
        command += ["--augment", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        disk = sum(file.stat().st_size for file in where.iterdir()) / 2**20
        print(f"{size:8,} photos ({disk:6.1f} MB){peaks[-1]:10.1f} MB")
        shutil.rmtree(where)
    print(f"largest over smallest {max(peaks) / min(peaks):.2f}   wanted: at most 1.2")


def augment(where):
    photo_set = PhotoSetDataset(filepath=where).load()
    params = AugmentationParams(copies=2, workers=available_workers())
    copies = AugmentedPhotosDataset(filepath=where + "/copies")
    copies.save(augment_photos(photo_set, TAXONOMY, params))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS_DIR / "plantdoc_256" / "train")
    parser.add_argument("--phone", type=int, default=12, help="how many phone photos")
    parser.add_argument("--small", type=int, default=2000, help="how many photos of 256 px")
    parser.add_argument("--augment", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.augment:
        return augment(options.augment)
    found = sorted(options.photos.rglob("*.jpg"))
    if not found:
        sys.exit(f"no JPEG in {options.photos}: give a folder with --photos")
    print(machine(LIBRARIES))
    small = [str(path) for path in found[:: max(1, len(found) // options.small)]][: options.small]
    with tempfile.TemporaryDirectory() as scratch:
        phone = phone_photos(small, options.phone, Path(scratch))
        for copies in (1, 5):
            compare("12 MP", phone, copies, from_files=True, least=3)
        for copies in (1, 5):
            compare("256 px", small, copies, from_files=False, least=1.3)
        peak_memory(Path(scratch), (250, 1000, 4000), small)
    return None


if __name__ == "__main__":
    main()
