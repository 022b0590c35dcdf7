"""A photo that is nearly all white.

What is overexposed holds no detail that any processing brings back. Subjects on a white background
are common and fine: the most spacious of those looked at are 83% white. Threshold:
`burnt_out_above`, a share of the photo.
"""

from __future__ import annotations

import cv2

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen

WHITE = 250
"""Level from which on a channel counts as white: JPEG leaves clipped ones a little below 255."""


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how much of it is white."""
    if seen.photo is None or (seen.brightness or 0) < params.burnt_out_above * WHITE - 1:
        return None  # so much white would be brighter, even on black
    white = cv2.inRange(seen.photo.pixels, (WHITE, WHITE, WHITE), (255, 255, 255))
    share = cv2.countNonZero(white) / white.size
    if share <= params.burnt_out_above:
        return None
    return f"{share:.0%} of it is white."
