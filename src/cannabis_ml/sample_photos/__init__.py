"""Labelled sample photos of the default taxonomy, drawn from a seed.

A fresh clone has no photos; these let every pipeline run, teach something real (shape and
texture separate product types, colour and background do not) and hold the mess of life:
missing labels, bursts, blur, noise and coloured light.
"""

from __future__ import annotations

import csv
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from cannabis_ml.errors import SourceError
from cannabis_ml.sample_photos.attributes import draw_attributes
from cannabis_ml.sample_photos.camera import take_photo
from cannabis_ml.sample_photos.canvas import Bytes
from cannabis_ml.sample_photos.lots import Labels, Lot, labels_of, lot_of
from cannabis_ml.sample_photos.subjects import draw_subject

__all__ = ["SamplePhoto", "draw_labels", "draw_photo", "write_sample_photos"]

Row = dict[str, object]

_DETAIL = 1.2
"""Side of a subject's layer per pixel of the photo, so that close-ups stay sharp."""

_PNG_SHARE = 0.03


@dataclass(frozen=True)
class SamplePhoto:
    """A drawn photo and what people know of it."""

    pixels: Bytes
    """(H, W, 3) red, green, blue."""
    labels: Labels
    """By label column, as in `taxonomy`; None is unknown."""
    group: str
    """The plant or lot; the frames of a burst share it."""


def draw_labels(index: int, seed: int) -> tuple[Labels, str]:
    """The labels and the group that `draw_photo` would give, without drawing."""
    lot = lot_of(index, seed)
    return labels_of(lot), lot.group


def draw_photo(index: int, seed: int, size: int = 256) -> SamplePhoto:
    """Draw one photo; it depends on nothing but the arguments.

    Args:
        index: Which photo, from 0.
        seed: Which world of photos, from 0.
        size: Pixels of the long side, at least; up to a quarter more.
    """
    lot = lot_of(index, seed)
    return SamplePhoto(_picture(lot, index, size), labels_of(lot), lot.group)


def write_sample_photos(
    folder: Path, count: int, seed: int, size: int = 256, workers: int | None = None
) -> Path:
    """Draw `count` photos into `folder/photos` and their labels into `folder/labels.csv`.

    All or nothing: the photos are drawn beside `folder` and moved there when complete. The
    bytes do not depend on the number of workers.

    Args:
        folder: Where to; it must not exist, or be empty.
        count: How many photos.
        seed: As in `draw_photo`.
        size: As in `draw_photo`.
        workers: Processes to draw with; by default one per CPU.

    Returns:
        `folder`.

    Raises:
        SourceError: If something is in `folder` already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SourceError(
            f"Sample photos cannot be drawn into {folder}: it is not empty.\n"
            "Name another folder, or remove this one if its photos may go."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (unfinished / "photos").mkdir()
        write = partial(_write_photo, unfinished, seed, size)
        # Closed before the folder goes, so that no worker still writes into it.
        with closing(_map(write, count, workers)) as drawn:
            rows = list(tqdm(drawn, "Drawing sample photos", count, unit="photo"))
        _write_labels(unfinished / "labels.csv", rows)
        unfinished.chmod(0o755)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _picture(lot: Lot, index: int, size: int) -> Bytes:
    layer = draw_subject(lot, round(size * _DETAIL))
    draw_attributes(layer, lot)
    return take_photo(layer, lot, index, size)


def _map(write: Callable[[int], Row], count: int, workers: int | None) -> Generator[Row]:
    if workers == 1:
        yield from map(write, range(count))
        return
    # Spawned, not forked: the parent may hold locks of PyTorch's or OpenMP's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(write, range(count), chunksize=8)


def _write_photo(folder: Path, seed: int, size: int, index: int) -> Row:
    photo = draw_photo(index, seed, size)
    rng = np.random.default_rng([seed, index])
    quality = int(rng.integers(70, 96))
    kind = "png" if rng.random() < _PNG_SHARE else "jpg"
    path = f"photos/{index:06d}.{kind}"
    Image.fromarray(photo.pixels).save(folder / path, quality=quality)
    return {"path": path, "group": photo.group, **photo.labels}


def _write_labels(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = list(rows[0]) if rows else ["path", "group", *draw_labels(0, 0)[0]]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)  # The csv module writes None as an empty field.
