"""Photos that exported files are evaluated on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.agreement import AgreementParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy


def rows_of(photo_set: PhotoSet, split: Split, most: int) -> np.ndarray:
    """Rows of a split, spread evenly over it where there are more than `most`.

    Raises:
        ExportError: If there are none.
    """
    rows = photo_set.rows_of(split)
    if not rows.size:
        raise ExportError(
            f"No photo is in the {split} split, and export needs some. Give it a share under"
            " ingestion.split, or photos in a folder of that name."
        )
    return evenly_spaced(rows, most)


def pixels_at(photo_set: PhotoSet, rows: np.ndarray, size: int) -> np.ndarray:
    """The photos of these rows at a model's input size: uint8 (N, size, size, 3)."""
    return np.stack([center_crop_resize(photo_set.pixels(row), size) for row in rows])


@dataclass(frozen=True)
class JudgedPhotos:
    """Photos on which quantized files are compared: no test and no calibration photos.

    Attributes:
        photo_set: Stored photos.
        rows: Rows of it, each photo once.
        copies: Augmented copies of training photos.
        copy_rows: Rows of those.
    """

    photo_set: PhotoSet
    rows: np.ndarray
    copies: PhotoSet
    copy_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows) + len(self.copy_rows)

    def pixels(self, size: int, order: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Each at a model's input size, uint8 (size, size, 3), one by one.

        Args:
            size: The model's input size.
            order: Places, the photos' before the copies'; None for all as they stand.
        """
        for place in range(len(self)) if order is None else order:
            if place < len(self.rows):
                pixels = self.photo_set.pixels(self.rows[place])
            else:
                pixels = self.copies.pixels(self.copy_rows[place - len(self.rows)])
            yield center_crop_resize(pixels, size)

    def truth(self, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
        """Labels of each, encoded as by `Taxonomy.encode`."""
        sets = ((self.photo_set, self.rows), (self.copies, self.copy_rows))
        parts = [photos.encode(taxonomy, rows) for photos, rows in sets if len(rows)]
        return {h.name: np.concatenate([part[h.name] for part in parts]) for h in taxonomy.heads}


def photos_to_judge(
    photo_set: PhotoSet,
    copies: PhotoSet,
    seen: Collection[int],
    agreement: AgreementParams,
) -> JudgedPhotos:
    """Photos of every split but test, then copies where there are too few.

    Args:
        photo_set: Stored photos.
        copies: Augmented copies of training photos; may be empty.
        seen: Rows that quantizers got as calibration photos.
        agreement: How many.

    Raises:
        ExportError: If there are none.
    """
    rows = photo_set.rows_of(*(split for split in Split if split != Split.TEST))
    rows = evenly_spaced(np.setdiff1d(rows, np.fromiter(seen, int)), agreement.photos)
    wanted = min(agreement.photos, agreement.fewest) - len(rows)
    copy_rows = evenly_spaced(np.arange(len(copies)), max(0, wanted))
    if not len(rows) + len(copy_rows):
        raise ExportError(
            "No photo is left to compare quantized files on: every one outside the test split was"
            " used to calibrate the quantizers. Add photos, or lower export.calibration_photos."
        )
    return JudgedPhotos(photo_set, rows, copies, copy_rows)


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, evenly spaced: sources often list photos class by class."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)] if most else rows[:0]
