"""A photo without colours.

Networks take three channels. Worth knowing too where colour tells the classes apart: a grey photo
of a ripe fruit is no evidence. Repaired: the grey is given to red, green and blue.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that it holds grey levels alone."""
    if seen.photo is None or seen.photo.mode.partition(";")[0] not in _GREY_MODES:
        return None
    return "In grey levels: the same for red, green and blue."
