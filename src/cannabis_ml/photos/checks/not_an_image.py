"""A file that is no image, whatever its name says.

Web pages saved under the name of a photo, text, SVG drawings, stray files of programs.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that no image format is recognised."""
    return seen.failed_as("not_an_image")
