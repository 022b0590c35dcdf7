"""Which of two splits a photo must rather stay in."""

from __future__ import annotations

from typing import Any

_LEAST_LEARNT_FIRST = ("test", "validation", "calibration", "train")


def split_rank(split: Any) -> int:
    """0 for the split that models learn least from, 4 for none.

    What a report rests on must never be learnt from, so where two splits claim a photo, or one
    shows what the other shows, the lower rank keeps it.
    """
    is_one = isinstance(split, str) and split in _LEAST_LEARNT_FIRST
    return _LEAST_LEARNT_FIRST.index(split) if is_one else len(_LEAST_LEARNT_FIRST)
