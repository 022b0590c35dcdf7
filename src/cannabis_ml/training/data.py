"""Data sets, samplers and loaders of training.

Pixels stay uint8 and are normalized inside the network: a quarter of the memory traffic.
Augmentation depends on (seed, epoch, row) alone, and batches on (seed, epoch, batch) alone. So
results depend neither on the number of workers nor on where training was interrupted, and
processes that train together see the same batches as one alone.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cannabis_ml._io.processes import end_with_parent
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.training.geometry import transform
from cannabis_ml.training.losses import bootstrap_weights
from cannabis_ml.training.training_data import TrainingData

if TYPE_CHECKING:
    from cannabis_ml.training.schedule import TrainingParams

Item = tuple[int, int]
"""Epoch and position among the chosen rows; the epoch of an evaluation is `EVALUATION`."""

EVALUATION = -1

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop, relative to the photo's."""

LITTLE = 1.3
"""Below this downscaling factor, bilinear is as accurate as area interpolation."""


class Batch(NamedTuple):
    """Photos with targets and weights.

    Attributes:
        photos: uint8 (N, 3, S, S), or float32 (N, F): features of a frozen backbone.
        targets: Per head, as `Taxonomy.encode` gives them.
        teacher: Per head float32 (N, K) probabilities; empty without a teacher.
        members: float32 (N, M), weight of each photo in the loss of each member of an ensemble.
    """

    photos: Any
    targets: dict[str, Any]
    teacher: dict[str, Any]
    members: Any


class RowTargets:
    """Targets and weights of chosen rows.

    Args:
        data: The photos.
        members: M.
        seed: Of the bootstrap of the members.

    Raises:
        TrainingError: If the teacher has no prediction for one of the photos.
    """

    def __init__(self, data: TrainingData, members: int = 1, seed: int = 0) -> None:
        self.labels = data.photos.encode(data.taxonomy, data.rows)
        self.teacher = data.teacher_probs()
        # Rows of the same photo have the same weights.
        photos, which = np.unique(data.photo_ids, return_inverse=True)
        self.members = bootstrap_weights(len(photos), members, seed)[torch.from_numpy(which)]
        if data.weights is not None:
            self.members *= torch.from_numpy(np.asarray(data.weights, np.float32))[:, None]

    def at(self, position: int, photo: Tensor) -> Batch:
        """One row; the loader stacks them."""
        return Batch(
            photo,
            {name: values[position] for name, values in self.labels.items()},
            {name: values[position] for name, values in self.teacher.items()},
            self.members[position],
        )


class Photos(Dataset):
    """Chosen rows of a photo set, each a `Batch` without its first dimension.

    A photo with copies shows itself in one epoch and a copy in the next, in turn; where a row
    stands several times, each time another.

    Args:
        data: Rows of a photo set, copies and teacher.
        image_size: S.
        training: Augments by these parameters where the epoch is not `EVALUATION`.
        members: As for `RowTargets`.
        sizes: S of each epoch of training, where it differs from `image_size`.
    """

    def __init__(
        self,
        data: TrainingData,
        image_size: int,
        training: TrainingParams | None = None,
        members: int = 1,
        sizes: Sequence[int] = (),
    ) -> None:
        # Not `data` itself: workers get what is held here, and need no teacher's table.
        self.photo_set, self._copies = data.photos, data.copies
        self.rows = np.asarray(data.rows, dtype=np.int64)
        self.image_size, self.sizes = image_size, tuple(sizes)
        self.training = training
        self.targets = RowTargets(data, members, training.seed if training else 0)
        self._turn = pd.Series(self.rows).groupby(self.rows).cumcount().to_numpy()
        self._copies_of = {} if data.copies is None else data.copies.rows_by_id()
        self._ids = data.photo_ids

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Item) -> Batch:
        epoch, position = item
        row, turn = int(self.rows[position]), int(self._turn[position])
        if self.training is None or not self.training.augment or epoch == EVALUATION:
            pixels = center_crop_resize(self.photo_set.pixels(row), self.image_size)
        else:
            random = np.random.default_rng((self.training.seed, epoch, row, turn))
            size = self.sizes[epoch] if epoch < len(self.sizes) else self.image_size
            copy = self._copy(position, epoch + turn)
            if copy is None:
                stored = self.photo_set.pixels(row)
                pixels = augment(stored, size, self.training, random)
            else:
                pixels = center_crop_resize(copy, size)
                pixels = cv2.flip(pixels, 1) if random.random() < 0.5 else pixels
        photo = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return self.targets.at(position, photo)

    def _copy(self, position: int, number: int) -> np.ndarray | None:
        """One of the photo's copies, going round; None when it is the turn of the photo itself."""
        copies = self._copies_of.get(str(self._ids[position]), ())
        number %= 1 + len(copies)
        if number == 0 or self._copies is None:
            return None
        return self._copies.pixels(copies[number - 1])


class CachedFeatures(Dataset):
    """The same rows as a `Photos`, with the features of a frozen backbone in place of pixels.

    Args:
        features: float32 (rows, F), may be memory-mapped.
        targets: Of the same rows.
    """

    def __init__(self, features: np.ndarray, targets: RowTargets) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, item: Item) -> Batch:
        _, position = item
        return self.targets.at(position, torch.from_numpy(np.array(self.features[position])))


class Batches(Sampler[list[Item]]):
    """Batches of (epoch, position), so that workers know the epoch.

    Processes that train together share every batch. In training, a remainder that would leave a
    process without a photo, or with a single one, on which BatchNorm fails, is dropped.

    Args:
        size: Number of photos.
        batch_size: Photos per batch, over all processes.
        seed: Of the order, together with the epoch.
        shuffle: Whether this is training; else the order is that of the rows.
    """

    def __init__(self, size: int, batch_size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the next epoch, and its first batch."""
        self.epoch, self.first = epoch, first

    def _used(self) -> int:
        """Number of photos in an epoch."""
        if not self.shuffle:
            return self.size
        _, together = process_of()
        used = self.size - self.size % together
        lone = used % self.batch_size == together and used > self.batch_size
        return used - together if lone else used

    def __len__(self) -> int:
        return math.ceil(self._used() / self.batch_size)

    def __iter__(self) -> Iterator[list[Item]]:
        rank, together = process_of()
        epoch = self.epoch if self.shuffle else EVALUATION
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
        order = order[: self._used()]
        for start in range(self.first * self.batch_size, len(order), self.batch_size):
            mine = order[start : start + self.batch_size][rank::together]
            if len(mine):
                yield [(epoch, int(i)) for i in mine]


class PhasedLoader:
    """Batches of cached features in the first epochs, of photos later.

    Lightning saves and restores `state_dict`, so that an interrupted epoch resumes at its next
    batch.

    Args:
        photos: Loads photos.
        features: Loads cached features in their place; None: never.
        cached_epochs: Number of first epochs on features.
    """

    def __init__(
        self, photos: DataLoader, features: DataLoader | None = None, cached_epochs: int = 0
    ) -> None:
        self.photos, self.features, self.cached_epochs = photos, features, cached_epochs
        self.epoch = self.given = self._first = 0

    batch_sampler = None
    """Lightning expects one beside a sampler."""

    @property
    def sampler(self) -> PhasedLoader:
        """Lightning sets the epoch on it."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: Lightning makes the iterator before it sets the epoch.
        first, self._first = self._first, 0
        self.given = first
        cached = self.features is not None and self.epoch < self.cached_epochs
        loader = self.features if cached else self.photos
        assert loader is not None
        batches: Any = loader.batch_sampler
        batches.set_epoch(self.epoch, first)
        for batch in loader:
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Number of batches of the epoch that were yielded."""
        return {"given": self.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume after so many batches of the epoch."""
        self._first = state["given"]


def make_loader(
    photos: Any,
    *,
    batch_size: int,
    workers: int,
    shuffle: bool,
    seed: int = 0,
) -> DataLoader:
    """Loader of stacked `Batch`es.

    Args:
        photos: A `Dataset` of `Batch`es by `Item`.
        batch_size: Photos at a time, over all processes.
        workers: Processes that prepare photos; 0 does it in this one.
        shuffle: Whether this is training.
        seed: Of the order.
    """
    return DataLoader(
        photos,
        batch_sampler=Batches(len(photos), batch_size, seed=seed, shuffle=shuffle),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_begin,
        multiprocessing_context=_worker_processes() if workers else None,
        # Else each start of workers draws from the generator that dropout draws from.
        generator=torch.Generator().manual_seed(seed),
    )


def process_of() -> tuple[int, int]:
    """Rank of this process, and the number of processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


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

    crop = _resize(pixels[top : top + crop_height, left : left + crop_width], size)
    if mirrored:
        crop = cv2.flip(crop, 1)
    if training.geometry:
        crop = transform(crop, training.geometry, random)
    middle = np.mean(cv2.mean(crop)[:3])
    levels = (np.arange(256) * brightness - middle) * contrast + middle
    return cv2.LUT(crop, levels.clip(0, 255).astype(np.uint8))


def _resize(crop: np.ndarray, size: int) -> np.ndarray:
    """Resize to (size, size)."""
    shrinks = max(crop.shape[:2]) > LITTLE * size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(crop, (size, size), interpolation=how)


def _worker_processes() -> BaseContext:
    """Start method of workers; forks of this process would hang in OpenCV once it has threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once, before any thread exists; each worker is a fork of that.
    context.set_forkserver_preload([__name__])
    return context


def _begin(_: int) -> None:
    # PyTorch's own watch looks at the process that forked the worker: the fork server.
    end_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
