"""A photo taken in the dark.

Noise and compression are what is left of it. The brightest twentieth decides, not the mean: a leaf
on black velvet is well lit. Threshold: `dark_below`, a grey level.
"""

from __future__ import annotations

import cv2
import numpy as np

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen

BRIGHTEST = 0.05
"""Share of a photo that counts as its brightest part."""


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how dark even its bright parts are."""
    if not seen.grey.size:
        return None
    counts = cv2.calcHist([seen.grey], [0], None, [256], [0, 256]).ravel()
    level = int(np.searchsorted(np.cumsum(counts), (1 - BRIGHTEST) * seen.grey.size))
    if level >= params.dark_below:
        return None
    return f"Its brightest parts begin at grey level {level} of 255."
