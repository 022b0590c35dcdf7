"""The checks that look at one photo, in the order in which they are asked.

To add one, write its file and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from cannabis_ml.photos.checks import (
    almost_uniform,
    alpha,
    animated,
    blurred,
    broken_icc,
    burnt_out,
    cmyk,
    dark,
    empty,
    exif_rotated,
    greyscale,
    lfs_pointer,
    missing,
    not_an_image,
    palette,
    sixteen_bit,
    too_large,
    too_small,
    truncated,
    unreadable,
    wrong_suffix,
)
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


class Check(NamedTuple):
    """One check.

    Attributes:
        name: Short name, as `blurred`: that of its file.
        find: Gives a sentence where the photo has the defect, else None.
        about: What it finds, in a line.
    """

    name: str
    find: Callable[[Seen, DefectParams], str | None]
    about: str


def _checks(*modules: ModuleType) -> tuple[Check, ...]:
    return tuple(
        Check(
            module.__name__.rpartition(".")[2],
            module.find,
            str(module.__doc__).partition("\n")[0],
        )
        for module in modules
    )


SET_ASIDE = _checks(
    missing, too_large, empty, lfs_pointer, not_an_image, truncated, unreadable, too_small
)
"""What gives no usable photo. The first that finds something is the defect."""

REPAIRED = _checks(
    *(exif_rotated, cmyk, sixteen_bit, greyscale, palette, alpha, animated),
    *(wrong_suffix, broken_icc),
)
"""What decoding mends; the photo is kept."""

FLAGGED = _checks(blurred, dark, burnt_out, almost_uniform)
"""What a person may want to look at; the photo is kept."""
