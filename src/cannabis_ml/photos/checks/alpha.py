"""A photo with transparent parts.

What lies below them is arbitrary, often black, and shows as soon as the transparency is dropped.
Cut-out subjects of one class would share that background. Repaired: laid on white.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say what was put behind it."""
    if seen.photo is None or not seen.photo.has_alpha:
        return None
    return "Partly transparent: laid on white."
