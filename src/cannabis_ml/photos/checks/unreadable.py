"""A photo that is damaged, of a kind that cannot be decoded here, or not allowed to be read.

Whatever keeps a file from being decoded and is not told apart by another check. The detail has what
the decoder or the system said.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say what the decoder said."""
    return seen.failed_as("unreadable")
