"""More pixels than any camera makes, or a file larger than any photo.

A few kilobytes can claim a billion pixels (a decompression bomb) and take down the machine that
believes them. Decided by the header, before a pixel is decoded. Thresholds:
`too_large_pixels` and `too_large_megabytes`.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how large it claims to be."""
    return seen.failed_as("too_large")
