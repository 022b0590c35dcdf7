"""A photo of next to nothing.

A wall, a lens cap, a finger, an image that a site shows where the real one is gone. Threshold:
`almost_uniform_below`, the standard deviation of the channel that varies most.
"""

from __future__ import annotations

import cv2

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how little it varies."""
    if seen.photo is None or (seen.contrast or 0) >= params.almost_uniform_below:
        return None  # luma cannot vary more than the channels that it is made of
    spread = float(cv2.meanStdDev(seen.photo.pixels)[1].max())
    if spread >= params.almost_uniform_below:
        return None
    return f"Of one colour: the standard deviation is {spread:.1f} of 255."
