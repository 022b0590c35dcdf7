"""A Git LFS pointer where the photo should be.

A repository that was cloned without Git LFS has text files of 130 bytes under the names of its
photos. One command brings the photos, so it is worth telling apart from what is merely broken.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how to get the photo that the pointer stands for."""
    return seen.failed_as("lfs_pointer")
