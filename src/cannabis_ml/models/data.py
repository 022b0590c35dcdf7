"""Photos on their way from the Arrow photo set to the network.

Pixels travel as uint8 and become numbers around zero only inside the network: a quarter of the
memory traffic. What happens to a photo in an epoch depends on (seed, epoch, index of the photo)
alone, so results do not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cannabis_ml.datasets.photo_set import labels_of
from cannabis_ml.photos.resize import fit
from cannabis_ml.taxonomy import Taxonomy

if TYPE_CHECKING:
    import datasets

    from cannabis_ml.models.params import TrainingParams

Item = tuple[int, int]
"""Epoch and position among the chosen rows; the epoch of an evaluation is `EVALUATION`."""

EVALUATION = -1

PHOTO_WEIGHT = ""
"""Key of the photos' weights among the targets; no head is called so."""

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop, relative to the photo's."""


class Photos(Dataset):
    """Chosen rows of a photo set as (uint8 (3, S, S), encoded labels per head).

    A photo with copies shows itself in one epoch and a copy in the next, in turn; where a row
    stands several times, each time another.

    Args:
        photo_set: See the photo set's columns in the catalog.
        rows: Indices of the rows to use; they may repeat.
        taxonomy: Encodes the labels.
        image_size: S.
        training: Augments by these parameters where the epoch is not `EVALUATION`.
        copies: Augmented copies of photos of the set, named by `photo_id`. They are shown whole,
            mirrored or not: what their labels bear was decided when they were made.
        weights: What each row weighs in the loss; all the same where None.
    """

    def __init__(
        self,
        photo_set: datasets.Dataset,
        rows: Sequence[int] | np.ndarray,
        taxonomy: Taxonomy,
        image_size: int,
        training: TrainingParams | None = None,
        copies: datasets.Dataset | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.image_size = image_size
        self.training = training
        table = labels_of(photo_set).iloc[self.rows]
        self.targets = taxonomy.encode(table)
        if weights is not None:
            self.targets[PHOTO_WEIGHT] = np.asarray(weights, dtype=np.float32)
        self._turn = pd.Series(self.rows).groupby(self.rows).cumcount().to_numpy()
        self._images = _undecoded(photo_set)
        self._copies = None if copies is None else _undecoded(copies)
        ids = pd.Series([] if copies is None else copies["photo_id"], dtype=object)
        self._copies_of: dict[Any, Any] = dict(ids.groupby(ids).indices)
        self._ids = table["photo_id"].to_numpy()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, dict[str, Any]]:
        epoch, position = item
        row, turn = int(self.rows[position]), int(self._turn[position])
        if self.training is None or epoch == EVALUATION:
            pixels = fit(decode_stored(self._images[row]["image"]["bytes"]), self.image_size)
        else:
            random = np.random.default_rng((self.training.seed, epoch, row, turn))
            copy = self._copy(position, epoch + turn)
            if copy is None:
                stored = decode_stored(self._images[row]["image"]["bytes"])
                pixels = augment(stored, self.image_size, self.training, random)
            else:
                pixels = fit(copy, self.image_size)
                pixels = cv2.flip(pixels, 1) if random.random() < 0.5 else pixels
        photo = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return photo, {name: values[position] for name, values in self.targets.items()}

    def _copy(self, position: int, number: int) -> np.ndarray | None:
        """One of the photo's copies, going round; None when it is the turn of the photo itself."""
        copies = self._copies_of.get(self._ids[position], ())
        number %= 1 + len(copies)
        if number == 0 or self._copies is None:
            return None
        return decode_stored(self._copies[int(copies[number - 1])]["image"]["bytes"])


def _undecoded(photo_set: datasets.Dataset) -> datasets.Dataset:
    import datasets

    return photo_set.select_columns("image").cast_column("image", datasets.Image(decode=False))


class EpochSampler(Sampler[Item]):
    """Hands out (epoch, position), so that a worker knows the epoch without being told.

    Args:
        size: Number of photos.
        seed: Decides the order, together with the epoch.
        shuffle: Whether this is training; else the order is that of the rows.
    """

    def __init__(self, size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.size, self.seed, self.shuffle, self.epoch = size, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Item]:
        if not self.shuffle:
            return iter([(EVALUATION, i) for i in range(self.size)])
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return iter([(self.epoch, int(i)) for i in order])


def make_loader(
    photos: Photos, *, batch_size: int, workers: int, shuffle: bool, seed: int = 0
) -> DataLoader:
    """Batches of (uint8 (N, 3, S, S), encoded labels per head), in memory ready for a GPU."""
    return DataLoader(
        photos,
        batch_size=batch_size,
        sampler=EpochSampler(len(photos), seed=seed, shuffle=shuffle),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread_each,
        # Else each start of workers draws from the generator that dropout draws from.
        generator=torch.Generator().manual_seed(seed),
        # BatchNorm cannot learn from a lone photo.
        drop_last=shuffle and len(photos) > batch_size and len(photos) % batch_size == 1,
    )


def decode_stored(data: bytes) -> np.ndarray:
    """Pixels of a photo as the photo set stores it (JPEG or PNG, upright, RGB): uint8 (H, W, 3)."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if pixels is None:
        raise ValueError(f"the photo set holds {len(data):,} bytes that are no image")
    return pixels


def augment(
    pixels: np.ndarray, size: int, training: TrainingParams, random: np.random.Generator
) -> np.ndarray:
    """Random crop, mirror and exposure: uint8 (H, W, 3) -> uint8 (size, size, 3)."""
    height, width = pixels.shape[:2]
    area = random.uniform(training.crop_scale, 1)
    stretch = np.sqrt(np.exp(random.uniform(*np.log(ASPECT))))
    # The crop's shape is relative to a square one: photos are not squashed on average.
    side = np.sqrt(area * height * width)
    crop_width = round(min(max(side * stretch, 1), width))
    crop_height = round(min(max(side / stretch, 1), height))
    left = random.integers(width - crop_width + 1)
    top = random.integers(height - crop_height + 1)
    mirrored = random.random() < 0.5
    contrast, brightness = 1 + random.uniform(-training.brightness, training.brightness, 2)

    crop = pixels[top : top + crop_height, left : left + crop_width]
    shrinking = crop_width > size
    crop = cv2.resize(
        crop, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    )
    if mirrored:
        crop = cv2.flip(crop, 1)
    middle = np.mean(cv2.mean(crop)[:3])
    levels = (np.arange(256) * brightness - middle) * contrast + middle
    return cv2.LUT(crop, levels.clip(0, 255).astype(np.uint8))


def _one_thread_each(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
