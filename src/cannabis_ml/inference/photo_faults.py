"""Faults of a photo that an answer is wanted for, by the checks of ingestion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cannabis_ml.photos.checks import FLAGGED, SET_ASIDE
from cannabis_ml.photos.checks.examined_file import examine_pixels
from cannabis_ml.photos.checks.params import DefectParams

TOO_SMALL = "too_small"
CHECKS = (*(check for check in SET_ASIDE if check.name == TOO_SMALL), *FLAGGED)

FEWEST = 2
"""A photo is too small if the model sees it enlarged by more than this."""

EXPLAINED_BY = {
    "blurred": {"dark", "burnt_out", "almost_uniform"},
    "almost_uniform": {"dark", "burnt_out"},
}
"""Dark and plain white photos have neither edges nor colors: the cause alone is named."""


@dataclass(frozen=True)
class PhotoFault:
    """A fault of a photo.

    Attributes:
        name: Of the check, such as `blurred`.
        width: Of the photo, in pixels.
        height: Of the photo, in pixels.
    """

    name: str
    width: int
    height: int


def photo_faults(photo: np.ndarray, image_size: int, defects: DefectParams) -> list[PhotoFault]:
    """Look for faults that a person could avoid by taking the photo again.

    Args:
        photo: As for `examine_pixels`.
        image_size: Side of the square that the model sees, in pixels.
        defects: Thresholds of the checks; photos below half of `image_size` are too small as well.

    Returns:
        Causes before what they explain, which is left out.
    """
    small = max(defects.too_small_side, -(-image_size // FEWEST))
    limits = defects.model_copy(update={"too_small_side": small})
    file = examine_pixels(photo)
    names = [check.name for check in CHECKS if check.find(file, limits)]
    height, width = photo.shape[:2]
    return [
        PhotoFault(name, width, height)
        for name in names
        if not EXPLAINED_BY.get(name, set()) & set(names)
    ]
