"""A photo too small to show its subject.

Icons, thumbnails of thumbnails, tracking pixels. Enlarged to what a network reads they are a blur
of one colour under a label. Threshold: `too_small_side`, the short side in pixels.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how small it is."""
    photo = seen.photo
    if photo is None or min(photo.width, photo.height) >= params.too_small_side:
        return None
    return (
        f"{photo.width} x {photo.height} pixels, the short side is below {params.too_small_side}."
    )
