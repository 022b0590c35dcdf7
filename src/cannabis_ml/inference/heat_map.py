"""Heat maps: what a model looked at, drawn over the photo.

The attention map tells how much every place of the photo's centre square weighed before pooling. It
shows where the model looked, not why it answered as it did.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

from cannabis_ml._io.files import written_aside
from cannabis_ml.photos.resize import shrink

SHORT_SIDE = 512
"""Largest short side of a heat map, in pixels."""

LEAST, MOST = 0.5, 2.0
"""Weights, by their mean, that are tinted most: the same for all photos, so that a color always
means the same, and a nearly even map does not look like a discovery."""

LESS, MORE = (30, 60, 170), (255, 140, 0)
"""Blue and orange, RGB, which the color-blind tell apart too."""

EVEN = 1.1
"""With a largest weight below this, by the mean, all parts weighed nearly alike."""

OPACITY = 0.6
"""Of the strongest tint."""

_OUTSIDE = 0.25
"""How bright the margins remain that the model does not see."""


def relative_weights(attention: np.ndarray) -> np.ndarray:
    """Weights by their mean, which is what they do to the features.

    Args:
        attention: (h, w), each above 0.

    Returns:
        float64 (h, w), mean 1.
    """
    weights = np.asarray(attention, np.float64)
    return weights / weights.mean()


def draw_heat_map(photo: np.ndarray, attention: np.ndarray) -> Image.Image:
    """Lay an attention map over a photo.

    Args:
        photo: uint8 RGB (height, width, 3), upright.
        attention: (h, w) of the photo's centre square, each above 0, as in `Answer.attention`; or
            any other map of that square whose mean is not 0.

    Returns:
        RGB, of the photo's proportions, its short side at most `SHORT_SIDE`. What weighed more than
        the mean is tinted orange, what weighed less blue, by the logarithm of the weight; what the
        model does not see is dark.
    """
    small = shrink(photo, SHORT_SIDE)
    height, width = small.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    logs = np.log(np.clip(relative_weights(attention), LEAST, MOST)) / np.log(MOST)
    large = cv2.resize(logs.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    tint = np.clip(large, -1, 1)[..., None]
    opacity = OPACITY * np.abs(tint)
    colors = np.where(tint > 0, MORE, LESS)
    drawn = np.rint(small * _OUTSIDE).astype(np.uint8)
    square = (slice(top, top + side), slice(left, left + side))
    drawn[square] = np.rint(opacity * colors + (1 - opacity) * small[square]).astype(np.uint8)
    return Image.fromarray(drawn)


def file_name(photo: str, what: str = "heat_map") -> str:
    """A name for the heat map of a photo: `leaf.jpg` gives `leaf.heat_map.png`.

    Args:
        photo: Name or path of the photo.
        what: What is drawn; characters that some system keeps for itself become `_`.
    """
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", f"{PurePath(photo).stem}.{what}.png")


def save_png(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, whole or not at all; missing folders are made.

    Raises:
        StorageError: If there is no room for it.
        OSError: If nothing can be written there.
    """
    with written_aside(path) as aside:
        image.save(aside, "PNG")
