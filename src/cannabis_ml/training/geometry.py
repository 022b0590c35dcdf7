"""One random geometric transform of a photo in training.

As TrivialAugment (Müller & Hutter 2021): one transform per photo, all equally likely, its strength
drawn uniformly. Its colors are left out: color is the label of many a photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

ROTATION = 90.0
"""Degrees, at full strength, either way."""

SHEAR = 0.5
"""Shift of one edge over the length of the other."""

PERSPECTIVE = 0.25
"""Shift of corners over the side."""

ERASED = 0.5
"""Side of the erased square over the photo's (cutout, DeVries & Taylor 2017)."""


def transform(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Apply one of `TRANSFORMS`, or nothing.

    What comes into the picture from outside is mirrored.

    Args:
        pixels: uint8 (S, S, 3).
        strength: Share in (0, 1] of the largest change.
        random: Decides which, and how strong.

    Returns:
        uint8 (S, S, 3).
    """
    which = int(random.integers(1 + len(TRANSFORMS)))
    amount = strength * float(random.uniform(-1, 1))
    if which == len(TRANSFORMS):
        return pixels
    return TRANSFORMS[which](pixels, amount, random)


def rotate(pixels: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    """Rotate by up to `ROTATION` about the middle."""
    middle = (len(pixels) - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), ROTATION * amount, 1.0)
    return _affine(pixels, matrix)


def shear(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Shear along one axis by up to `SHEAR`."""
    middle, by = (len(pixels) - 1) / 2, SHEAR * amount
    if random.random() < 0.5:
        return _affine(pixels, np.array([[1, by, -by * middle], [0, 1, 0]]))
    return _affine(pixels, np.array([[1, 0, 0], [by, 1, -by * middle]]))


def tilt(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Shift the corners by up to `PERSPECTIVE`, each by its own amount."""
    side = len(pixels) - 1
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    shifts = random.uniform(-1, 1, (4, 2)) * PERSPECTIVE * abs(amount) * side
    matrix = cv2.getPerspectiveTransform(corners, (corners + shifts).astype(np.float32))
    return cv2.warpPerspective(pixels, matrix, pixels.shape[1::-1], borderMode=_MIRRORED)


def erase(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Paint a square of up to `ERASED` of the side in the photo's mean color."""
    height, width = pixels.shape[:2]
    side = math.ceil(ERASED * abs(amount) * min(height, width))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    erased = pixels.copy()
    erased[top : top + side, left : left + side] = cv2.mean(pixels)[:3]
    return erased


TRANSFORMS: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    rotate,
    shear,
    tilt,
    erase,
)

_MIRRORED = cv2.BORDER_REFLECT_101


def _affine(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=_MIRRORED)
