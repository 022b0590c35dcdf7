"""Heat maps: what the answers for a photo rest on, drawn over it.

By occlusion (Zeiler & Fergus 2014): parts of the photo are blurred in turn, and where that makes
the answers less probable they rest on what was there. It asks any model file, some fifty times.

By attention: what each place weighed before pooling, which costs nothing. It does not measure what
an answer rests on: with the quarter blurred that it weighs most, PlantDoc's answers lost 0.07 of
their probability, with a random quarter 0.17, with that of Grad-CAM 0.32 (55 test photos, tier 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image

from cannabis_ml._io.files import written_aside
from cannabis_ml.photos.resize import shrink

HeatMapKind = Literal["occlusion", "attention"]
KINDS: tuple[HeatMapKind, ...] = get_args(HeatMapKind)

SHORT_SIDE = 512
"""Largest short side of a heat map, in pixels."""

LESS, MORE = (30, 60, 170), (255, 140, 0)
"""Blue and orange, RGB, which color-blind people can distinguish."""

OPACITY = 0.6
"""Of the strongest tint. A tint means the same in all photos, so that a nearly even map does not
look like a discovery."""

MOST_WEIGHT = 2.0
"""Twice the mean weight is tinted most, and so is half of it."""

MOST_DROP = 0.25
"""A loss of this much probability is tinted most."""

EVEN_WEIGHT, EVEN_DROP = 1.1, 0.02
"""Below these nothing stands out."""

PARTS = 8
"""Cells of a side, for occlusion. A window of 2 x 2 cells is blurred at a time."""

_BLUR = 0.1
"""Standard deviation of the blur, in sides of the photo: colors stay, no detail does."""

_OUTSIDE = 0.25
"""How bright the margins remain that the model does not see."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A heat map of one photo.

    Attributes:
        image: The photo, of its proportions, its short side at most `SHORT_SIDE`, tinted orange
            where answers rest on it, blue where it speaks against them. What the model does not
            see is dark.
        kind: What it shows, `occlusion` or `attention`.
        most: The largest value: probability lost, or weight by the mean.
        cells: The values, float64 (h, w) of the centre square that the model sees.
    """

    image: Image.Image
    kind: HeatMapKind
    most: float
    cells: np.ndarray

    @property
    def is_even(self) -> bool:
        """Whether nothing stands out."""
        return self.most < (EVEN_DROP if self.kind == "occlusion" else EVEN_WEIGHT)


def occlusion_heat_map(
    photo: np.ndarray, square: np.ndarray, ask: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> HeatMap:
    """What the answers rest on, by blurring parts of the photo in turn.

    Args:
        photo: uint8 RGB (height, width, 3), upright.
        square: Its centre square as the model sees it, uint8 RGB (S, S, 3).
        ask: Gives the mean probability of the answers, (N,), for such squares.
    """
    drops = occlusion(square, ask)
    return HeatMap(_tinted(photo, drops / MOST_DROP), "occlusion", float(drops.max()), drops)


def attention_heat_map(photo: np.ndarray, attention: np.ndarray) -> HeatMap:
    """What each place weighed before pooling.

    Args:
        photo: As for `occlusion_heat_map`.
        attention: (h, w) of the photo's centre square, as in `Answer.attention`; or any other map
            without values below 0 whose mean is above.
    """
    weights = relative_weights(attention)
    logs = np.log(np.clip(weights, 1 / MOST_WEIGHT, MOST_WEIGHT)) / np.log(MOST_WEIGHT)
    return HeatMap(_tinted(photo, logs), "attention", float(weights.max()), weights)


def occlusion(square: np.ndarray, ask: Callable[[Sequence[np.ndarray]], np.ndarray]) -> np.ndarray:
    """How much probability answers lose where a part of the photo is blurred.

    Args:
        square: As for `occlusion_heat_map`.
        ask: As for `occlusion_heat_map`.

    Returns:
        float64 (`PARTS`, `PARTS`): of each cell, the mean over the windows that blur it; below 0
        where answers gain.
    """
    side = square.shape[0]
    blurred = cv2.GaussianBlur(square, (0, 0), max(1.0, _BLUR * side))
    edges = np.rint(np.linspace(0, side, PARTS + 1)).astype(int)
    windows = [(y, x) for y in range(PARTS - 1) for x in range(PARTS - 1)]
    variants = [square]
    for y, x in windows:
        part = (slice(edges[y], edges[y + 2]), slice(edges[x], edges[x + 2]))
        variant = square.copy()
        variant[part] = blurred[part]
        variants.append(variant)
    probs = np.asarray(ask(variants), np.float64)
    total, count = np.zeros((2, PARTS, PARTS))
    for (y, x), drop in zip(windows, probs[0] - probs[1:], strict=True):
        total[y : y + 2, x : x + 2] += drop
        count[y : y + 2, x : x + 2] += 1
    return total / count


def relative_weights(attention: np.ndarray) -> np.ndarray:
    """Weights by their mean, which is what they do to the features.

    Args:
        attention: (h, w), of a mean above 0.

    Returns:
        float64 (h, w), mean 1.
    """
    weights = np.asarray(attention, np.float64)
    return weights / weights.mean()


def _tinted(photo: np.ndarray, strength: np.ndarray) -> Image.Image:
    """The photo with its centre square tinted, strength from -1, blue, to 1, orange."""
    small = shrink(photo, SHORT_SIDE)
    height, width = small.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    strength = np.clip(strength, -1, 1).astype(np.float32)
    large = cv2.resize(strength, (side, side), interpolation=cv2.INTER_CUBIC)
    tint = np.clip(large, -1, 1)[..., None]
    opacity = OPACITY * np.abs(tint)
    colors = np.where(tint > 0, MORE, LESS)
    drawn = np.rint(small * _OUTSIDE).astype(np.uint8)
    inner = (slice(top, top + side), slice(left, left + side))
    drawn[inner] = np.rint(opacity * colors + (1 - opacity) * small[inner]).astype(np.uint8)
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
        StorageError: If the disk is full.
        OSError: If nothing can be written there.
    """
    with written_aside(path) as aside:
        image.save(aside, "PNG")
