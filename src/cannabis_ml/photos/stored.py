"""Photos as a photo set stores them: JPEG or PNG, upright, RGB, known to be sound."""

from __future__ import annotations

import cv2
import numpy as np


def decode_stored(data: bytes) -> np.ndarray:
    """Pixels of a stored photo: uint8 RGB (H, W, 3).

    Raises:
        ValueError: If the bytes are not an image.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if pixels is None:
        raise ValueError(f"the photo set holds {len(data):,} bytes that are not an image")
    return pixels
