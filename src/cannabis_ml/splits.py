"""The splits of a photo set."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Split(StrEnum):
    """What a photo is used for. Tables hold the names as text."""

    TRAIN = "train"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    TEST = "test"


SPLITS = tuple(Split)
"""In the order in which reports list them."""

HELD_OUT = (Split.VALIDATION, Split.CALIBRATION, Split.TEST)
"""The splits that no weight is learnt from."""

_LEAST_LEARNT_FIRST = (Split.TEST, Split.VALIDATION, Split.CALIBRATION, Split.TRAIN)


def split_rank(split: Any) -> int:
    """0 for the split that models learn least from, 4 for none.

    What a report rests on must never be learnt from, so where two splits claim a photo, or one
    shows what the other shows, the lower rank keeps it.
    """
    is_one = isinstance(split, str) and split in _LEAST_LEARNT_FIRST
    return _LEAST_LEARNT_FIRST.index(Split(split)) if is_one else len(_LEAST_LEARNT_FIRST)
