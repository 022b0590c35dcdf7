"""A file of several frames or pages.

An animation is not a photo, but its first frame mostly is. Repaired: the first frame is taken, the
others are left.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that only the first frame is taken."""
    if seen.photo is None or not seen.photo.is_animated:
        return None
    return "Several frames: the first is taken."
