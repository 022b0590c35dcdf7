"""A photo in at most 256 colours of its own.

GIFs and small PNGs store numbers of a colour table; read as grey levels the numbers mean nothing.
Repaired: each number replaced by its colour.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that its colours were looked up."""
    if seen.photo is None or seen.photo.mode.partition(";")[0] not in ("P", "PA"):
        return None
    return "In a palette of at most 256 colours: converted to RGB."
