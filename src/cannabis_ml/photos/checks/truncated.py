"""A photo whose file ends before the photo does.

Broken downloads. Decoders that forgive paint the rest grey, and a network learns that grey means
whatever class was downloaded over the worse line.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say where the file ends."""
    return seen.failed_as("truncated")
