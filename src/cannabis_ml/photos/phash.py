"""Perceptual hash and thumbnail, which re-encoding and resizing leave nearly unchanged.

The hash is pHash of Zauner 2010 ("Implementation and benchmarking of perceptual image hash
functions", section 3.2.1): the photo as 32 x 32 grey levels, its two-dimensional DCT, and one bit
for each of the 8 x 8 lowest frequencies that vary in both directions. Two departures: grey levels
are averages over areas, which does the work of his 7 x 7 mean filter, and a bit is the sign of its
coefficient instead of its comparison with the median. On the leaf photos that it was tuned on,
signs find the same pairs, and a sign does not change when another coefficient does.

The aspect is given up: a photo and its squashed copy are alike. Flipped or turned copies are not:
a mirror negates every second column of coefficients, so about half of the bits.

64 bits alone take one leaf on a plain background for another. The thumbnail, 8 x 8 colours, is
there to check what the hash found: see `near_duplicates`.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

MIN_STRUCTURE = 1.0
"""Grey levels (root mean square, of 255) below which a photo has no hash.

Signs of coefficients that are noise agree with nothing or with anything. Sensor noise and JPEG
blocks of an evenly lit wall stay below 0.4; the plainest of 5,584 leaf photos has 2.5.
"""

THUMBNAIL_SIDE = 8
"""Pixels."""

THUMBNAIL_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3

_GRID = 32
_FREQUENCIES = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG


def _cosines() -> np.ndarray:
    """Rows 1 to 8 of the orthonormal DCT-II of length 32."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    position = np.arange(_GRID)[None, :] + 0.5
    return (np.cos(np.pi * frequency * position / _GRID) * np.sqrt(2 / _GRID)).astype(np.float32)


_COSINES = _cosines()


class Fingerprint(NamedTuple):
    """What is kept of a photo to find its near-duplicates: 200 bytes.

    Attributes:
        phash: 0 to 2**64 - 1 (a `UInt64` column), or None for a photo without structure.
        thumbnail: `THUMBNAIL_BYTES` bytes: uint8 RGB (8, 8, 3), rows first.
    """

    phash: int | None
    thumbnail: bytes


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Hash and thumbnail of an upright photo.

    Args:
        pixels: uint8 (H, W, 3) or (H, W), of any size; one decoded at reduced scale gives the
            same within a few bits as long as its sides are at least 64.

    Raises:
        ValueError: If `pixels` are of another type or shape, or there are none.
    """
    grid = _grid(pixels)
    side, cell = THUMBNAIL_SIDE, _GRID // THUMBNAIL_SIDE
    cells = grid.reshape(side, cell, side, cell, 3).astype(np.uint32).sum(axis=(1, 3))
    thumbnail = ((cells + cell * cell // 2) // (cell * cell)).astype(np.uint8)
    return Fingerprint(_hash(_coefficients(grid)), thumbnail.tobytes())


def perceptual_hash(pixels: np.ndarray) -> int | None:
    """The 64 bits of a photo, or None where it has too little structure to have any.

    The most significant bit is the lowest frequency; rows (vertical frequency) first.

    Args:
        pixels: As for `fingerprint`.

    Raises:
        ValueError: As `fingerprint`.
    """
    return _hash(_coefficients(_grid(pixels)))


def structure(pixels: np.ndarray) -> float:
    """Contrast of what is hashed: root mean square in grey levels; hashes of little are unreliable.

    Args:
        pixels: As for `fingerprint`.

    Raises:
        ValueError: As `fingerprint`.
    """
    return _structure(_coefficients(_grid(pixels)))


def _grid(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB (32, 32, 3): averages over areas."""
    gray = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (gray or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(
            f"A photo is uint8 (H, W, 3) or (H, W), not {pixels.dtype} {pixels.shape}."
        )
    if pixels.size == 0:
        raise ValueError(f"A photo of shape {pixels.shape} has no pixels.")
    grid = cv2.resize(pixels, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(grid, cv2.COLOR_GRAY2RGB) if gray else grid


def _coefficients(grid: np.ndarray) -> np.ndarray:
    return _COSINES @ (grid.astype(np.float32) @ _LUMA) @ _COSINES.T


def _structure(coefficients: np.ndarray) -> float:
    return float(np.linalg.norm(coefficients)) / _GRID  # Parseval: RMS over the 32 x 32 grid


def _hash(coefficients: np.ndarray) -> int | None:
    if _structure(coefficients) < MIN_STRUCTURE:
        return None
    return int.from_bytes(np.packbits(coefficients > 0).tobytes(), "big")
