"""A photo in printing colours.

JPEGs made for print hold four inks. Read as if they were RGB they come out in false colours, often
as a negative. Repaired: converted to RGB.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that its inks were converted."""
    if seen.photo is None or seen.photo.mode != "CMYK":
        return None
    return "In CMYK: converted to RGB."
