"""Dissimilarity of thumbnails: one minus their correlation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_STABLE = 1.0  # grey levels squared: the constant of SSIM's structure term


def thumbnail_difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dissimilarity of thumbnails, invariant to brightness and contrast.

    One minus the structure term of SSIM (Wang et al. 2004, equation 10) over all bytes: in effect
    one minus their correlation. Colours count: one offset and one gain for all channels.

    Args:
        left: uint8 (M, B).
        right: uint8 (M, B).

    Returns:
        float32 (M,): 0 the same, about 1 unrelated, up to 2 for a negative.
    """
    products = np.einsum("ij,ij->i", left.astype(np.float32), right.astype(np.float32))
    return difference_of(products, moments(left), moments(right), left.shape[1])


class Moments(NamedTuple):
    """Sums and sums of squares of thumbnails, exact."""

    sums: np.ndarray
    squares: np.ndarray

    def variations(self, size: int) -> np.ndarray:
        """Sum of squared differences from the mean."""
        return self.squares - self.sums * self.sums / size


def moments(thumbnails: np.ndarray) -> Moments:
    """Of thumbnails, uint8 (M, B)."""
    return Moments(
        thumbnails.sum(axis=1, dtype=np.int64),
        np.einsum("ij,ij->i", thumbnails, thumbnails, dtype=np.int64, casting="safe"),
    )


def difference_of(products: np.ndarray, left: Moments, right: Moments, size: int) -> np.ndarray:
    """From sums of products, as `thumbnail_difference`.

    Sums of products of 192 bytes stay below 2**24, so they are exact in float32, by whatever route
    they were summed up: a pair is linked or not, whatever it is compared along with.
    """
    together = products.astype(np.float64) - left.sums * right.sums / size
    apart = np.sqrt(left.variations(size) * right.variations(size))
    stable = _STABLE * size
    return np.maximum(1 - (together + stable) / (apart + stable), 0).astype(np.float32)
