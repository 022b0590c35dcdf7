"""Drawing primitives: noise, outlines as complex numbers, and the layer a subject is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Outline = NDArray[np.complexfloating[Any, Any]]
"""Corners as x + iy, in pixels or about 0 with a size of 1; `z * turn(a)` rotates them."""
Color = NDArray[np.float64]
"""Red, green, blue in 0..255."""

SHIFT = 4
"""OpenCV takes corners as integers, here in sixteenths (2 to the -4) of a pixel."""

_RIPPLES = np.arange(2, 9)  # Waves around an outline; 1 would only shift it.


@dataclass
class Layer:
    """A subject before it is lit: what colour, how high, how see-through, how shiny."""

    side: int
    paint: Bytes = field(init=False)
    """(side, side, 4): red, green, blue and height; height 0 is where nothing is."""
    opacity: Float = field(init=False)
    """(side, side), 0..1."""
    gloss: Float = field(init=False)
    """(side, side), 0 (matt) to 1 (wet)."""
    hearts: list[tuple[complex, float]] = field(default_factory=list)
    """Centres and radii of the parts that bear hairs, glands and seeds; none: all of it."""

    def __post_init__(self) -> None:
        """Start with nothing: bare, opaque, matt."""
        self.paint = np.zeros((self.side, self.side, 4), np.uint8)
        self.opacity = np.ones((self.side, self.side), np.float32)
        self.gloss = np.full((self.side, self.side), 0.05, np.float32)

    @property
    def cover(self) -> Mask:
        """(side, side): where there is something."""
        return self.paint[..., 3] > 0

    @property
    def gray(self) -> Float:
        """(side, side): how light the paint is, 0..255."""
        return cv2.cvtColor(self.paint, cv2.COLOR_RGBA2GRAY).astype(np.float32)

    @property
    def center(self) -> complex:
        """The middle, x + iy."""
        return complex(self.side, self.side) / 2

    def fill(self, outline: Outline, color: Color, height: float) -> None:
        """Fill a polygon; later ones lie on top."""
        cv2.fillPoly(self.paint, [corners(outline)], _ink(color, height), cv2.LINE_AA, SHIFT)

    def dome(self, outline: Outline, color: Color, height: float, lift: float = 40) -> None:
        """Fill a polygon that bulges by `lift`: dark at its rim, light in the middle."""
        core = outline.mean()
        for shrink, tone, rise in ((1.0, 0.62, 0.0), (0.82, 0.95, 0.6), (0.5, 1.12, 1.0)):
            self.fill(core + (outline - core) * shrink, color * tone, height + lift * rise)

    def dot(self, place: complex, radius: float, color: Color, height: float) -> None:
        """Fill a disc of `radius` pixels."""
        x, y, r = (round(n * (1 << SHIFT)) for n in (place.real, place.imag, radius))
        cv2.circle(self.paint, (x, y), r, _ink(color, height), -1, cv2.LINE_AA, SHIFT)

    def line(self, path: Outline, color: Color, height: float, width: float = 1) -> None:
        """Draw an open line `width` pixels wide."""
        cv2.polylines(
            self.paint,
            [corners(path)],
            False,
            _ink(color, height),
            max(1, round(width)),
            cv2.LINE_AA,
            SHIFT,
        )

    def blend(self, color: Color | Float, weight: Float | Mask) -> None:
        """Mix a colour (or image) in, with `weight` (side, side) in 0..1 as opacity."""
        rgb = self.paint[..., :3].astype(np.float32)
        mixed = color.astype(np.float32) - rgb
        mixed *= weight.astype(np.float32, copy=False)[..., None]
        mixed += rgb
        self.paint[..., :3] = np.clip(mixed, 0, 255, out=mixed)

    def tone(self, factor: Float) -> None:
        """Lighten or darken by a factor per pixel."""
        toned = self.paint[..., :3] * factor.astype(np.float32, copy=False)[..., None]
        self.paint[..., :3] = np.clip(toned, 0, 255, out=toned)

    def inflate(self, mask: Mask, edge: float, low: float, high: float) -> Float:
        """Give `mask` the height of a cushion whose edge is `edge` pixels wide.

        Returns:
            (side, side) thickness in 0..1, 0 outside the mask.
        """
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        slope = 1 - np.clip(depth / max(edge, 1), 0, 1)
        thickness = np.sqrt(np.clip(1 - slope**2, 0, 1)) * mask
        height = low + (high - low) * thickness
        self.paint[..., 3] = np.where(mask, np.maximum(height, 1), self.paint[..., 3])
        return thickness.astype(np.float32)

    def spots(
        self, rng: np.random.Generator, count: int, margin: int = 0, hearts: bool = False
    ) -> Outline:
        """Random places on the subject or its hearts, if it can be `margin` pixels inside it."""
        mask = self.cover.astype(np.uint8)
        if hearts and self.hearts:
            parts = np.zeros_like(mask)
            for center, radius in self.hearts:
                cv2.circle(parts, (int(center.real), int(center.imag)), int(radius), 1, -1)
            mask &= parts
        if margin:
            inner = cv2.erode(mask, np.ones((margin, margin), np.uint8))
            mask = np.asarray(inner if inner.any() else mask, np.uint8)
        places = np.flatnonzero(mask)
        if not places.size:
            return np.full(count, self.center)
        chosen = places[rng.integers(0, places.size, count)]
        return chosen % self.side + 1j * (chosen // self.side)


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Float:
    """Smooth noise in about 0..1 with features of `grain` pixels; `shape` is (H, W)."""
    small = [max(2, int(n / grain) + 2) for n in shape]
    drawn = rng.random(small, dtype=np.float32)
    smooth = cv2.resize(drawn, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)


def fractal(rng: np.random.Generator, shape: tuple[int, int], grain: float, octaves: int) -> Float:
    """Noise with detail at `octaves` scales, each half as large and as strong as the last."""
    weights = 0.5 ** np.arange(octaves)
    layers = (w * noise(rng, shape, grain * w) for w in weights)
    return np.asarray(sum(layers) / weights.sum(), np.float32)


def soften(image: Float | Bytes, sigma: float) -> Float:
    """Blur by a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def patches(
    rng: np.random.Generator,
    mask: Mask,
    share: float,
    grain: float,
    softness: float = 0.06,
) -> Float:
    """Soft-edged patches over about `share` of a mask; weights (H, W) in 0..1, 0 outside it."""
    height, width = mask.shape
    drawn = fractal(rng, (height, width), grain, 3)
    inside = drawn[mask]
    level = np.quantile(inside, 1 - share) if inside.size else 1.0
    return np.clip((drawn - level) / softness + 0.5, 0, 1) * mask


def pick(rng: np.random.Generator, palette: Sequence[tuple[int, int, int]]) -> Color:
    """A colour between two neighbours drawn from a palette."""
    a, b = (np.array(palette[i], float) for i in rng.integers(0, len(palette), 2))
    return a + (b - a) * rng.random() * 0.6 + rng.normal(0, 6, 3)


def turn(angle: float) -> complex:
    """The unit vector at an angle in radians; multiply an outline by it to rotate it."""
    return complex(np.exp(1j * angle))


def blob(rng: np.random.Generator, rough: float, squareness: float = 2, n: int = 48) -> Outline:
    """A closed outline of mean radius 1 about 0; `squareness` 2 is a disc, 8 almost a square."""
    circle, ripples = _circle(n)
    square = (np.abs(circle.real) ** squareness + np.abs(circle.imag) ** squareness) ** (
        -1 / squareness
    )
    swing = rng.normal(0, rough, _RIPPLES.size) / np.sqrt(_RIPPLES)
    phase = np.exp(1j * rng.uniform(0, 2 * np.pi, _RIPPLES.size))
    radius = square * (1 + (ripples * phase).real @ swing)
    return np.asarray(np.clip(radius, 0.2, 2) * circle)


def leaf_halves(width: float, teeth: int, saw: float) -> tuple[Outline, Outline]:
    """The two sides of a serrated leaflet from 0 to 1, either side of its midrib."""
    t = np.linspace(0, 1, 2 * teeth + 1)
    side = width * np.sin(np.pi * t**0.85) ** 0.85
    side[1::2] *= 1 - saw
    t = np.where(np.arange(t.size) % 2 == 0, np.minimum(t + saw / teeth, 1), t)
    return t + 1j * side, t - 1j * side


def bend(outline: Outline, amount: float) -> Outline:
    """Curl an outline that lies along the real axis; `amount` in radians over its length."""
    return outline * np.exp(1j * amount * outline.real)


def hair(rng: np.random.Generator, curl: float, n: int = 7) -> Outline:
    """A curved open line from 0 to about 1."""
    heading = np.cumsum(rng.normal(0, curl, n)) + np.linspace(0, rng.normal(0, 2 * curl), n)
    path = np.zeros(n + 1, complex)
    path[1:] = np.cumsum(np.exp(1j * heading)) / n
    return path


@lru_cache
def _circle(n: int) -> tuple[Outline, Outline]:
    """`n` points of the unit circle, and their powers `_RIPPLES` (n, R)."""
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, n, endpoint=False))
    return circle, circle[:, None] ** _RIPPLES


def corners(outline: Outline) -> NDArray[np.int32]:
    """An outline as OpenCV takes it: (n, 2) in units of 2 to the -SHIFT pixels."""
    xy = np.ascontiguousarray(outline, np.complex128).view(np.float64).reshape(-1, 2)
    return np.rint(xy * (1 << SHIFT)).astype(np.int32)


def _ink(color: Color, height: float) -> tuple[float, float, float, float]:
    r, g, b = (min(max(value, 0.0), 255.0) for value in color.tolist())
    return r, g, b, min(max(height, 1.0), 255.0)
