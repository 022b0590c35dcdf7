"""A file without a byte.

What a download or a copy leaves that failed at once. Its name still says a class, so that it would
be counted as a photo.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that the file is empty."""
    return seen.failed_as("empty")
