"""Fitting the band around a reported confidence."""

from __future__ import annotations

import numpy as np

from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.inference.bands import ConfidenceBand

PLACES = 101
"""Confidences at which the band is given, 0 to 1."""

NEAR = 0.1
"""Photos whose confidence differs by no more are near."""


def fit_band(
    confidence: np.ndarray,
    right: np.ndarray,
    groups: np.ndarray,
    *,
    level: float = 0.95,
    near: float = NEAR,
) -> ConfidenceBand:
    """Between which shares answers of a confidence are right.

    Of the photos near a confidence, Wilson's interval of the share right, for as many photos as
    the groups are worth (`evaluation.intervals`), moved by what their mean confidence is away from
    it. So the band is narrow where many photos lie, wide where few do, and all of [0, 1] where
    there is none. It holds the confidence itself.

    Args:
        confidence: Calibrated confidences of photos that were neither trained on nor scored
            afterwards, (N,), in [0, 1].
        right: Whether the answers are right, bool (N,).
        groups: Of each photo a number or name, (N,).
        level: How often the band at one confidence holds the true share.
        near: Half the width of the window, above 0. Within it, the share of right answers
            may differ from the confidence, but by about the same amount everywhere.

    Raises:
        ValueError: If a confidence is not in [0, 1].
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    groups = np.asarray(groups)
    outside = ~((confidence >= 0) & (confidence <= 1))
    if outside.any():
        raise ValueError(f"{outside.sum()} of {len(confidence)} confidences are not in [0, 1].")
    low, high, photos = [], [], []
    for place in np.linspace(0, 1, PLACES):
        window = np.abs(confidence - place) <= near
        ends = by_groups(right[window], groups[window], level)
        moved = place - confidence[window].mean() if window.any() else 0.0
        below, above = ends or [0.0, 1.0]
        low.append(float(np.clip(min(below + moved, place), 0, 1)))
        high.append(float(np.clip(max(above + moved, place), 0, 1)))
        photos.append(int(window.sum()))
    return ConfidenceBand(level=level, low=low, high=high, photos=photos)
