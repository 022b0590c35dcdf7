"""Resizing: the one implementation that training, export checks and inference share.

Training's evaluation, the checks of exported models and inference all call these two, so that a
model meets in use what it met in training: of the same stored photo the same pixels, of a JPEG to
within one grey level where two decoders read it.
"""

from __future__ import annotations

import cv2
import numpy as np


def shrink(pixels: np.ndarray, short_side: int) -> np.ndarray:
    """Downscale so that the short side is `short_side`; keeps the aspect ratio, never enlarges.

    Args:
        pixels: uint8 (H, W, C).
        short_side: Pixels, at least 1.

    Returns:
        uint8 (h, w, C) with min(h, w) = `short_side`, or `pixels` themselves if small enough.
    """
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def center_crop_resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Center crop to the largest square, then resize it to `size`.

    Args:
        pixels: uint8 (H, W, C).
        size: Side of the result in pixels.

    Returns:
        uint8 (size, size, C). Averages over areas when shrinking, bicubic when enlarging. Where
        the margin is odd, the spare pixel is cut at the bottom or the right.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=how)
