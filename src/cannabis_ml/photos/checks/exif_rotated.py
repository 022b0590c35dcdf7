"""A photo that lies on its side until its EXIF orientation is applied.

Phones store what the sensor saw and note how it was held. Programs that ignore the note train on
lying plants and are asked about standing ones. Repaired: turned upright.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say which orientation it was stored in."""
    if seen.photo is None or seen.photo.orientation == 1:
        return None
    return f"Stored in EXIF orientation {seen.photo.orientation}: turned upright."
