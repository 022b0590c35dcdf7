"""A listed file that is not there.

A table lists photos that were moved, renamed or never copied. Others of its photos may still be
good, so the run goes on and the list of what is missing is in the report.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say that there is no file."""
    return seen.failed_as("missing")
