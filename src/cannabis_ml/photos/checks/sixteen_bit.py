"""A photo of more than 8 bits a channel.

From scanners and scientific cameras. Cut instead of scaled, all but the darkest 256 of 65,536
levels turn white. Repaired: scaled to 8 bits.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that its levels were scaled."""
    if seen.photo is None or not seen.photo.is_deep:
        return None
    return "More than 8 bits a channel: scaled to 8."
