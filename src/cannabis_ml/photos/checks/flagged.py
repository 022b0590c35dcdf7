"""Defects that a person may want to look at; the photo is kept as it is."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from cannabis_ml.photos.checks.check import Check
from cannabis_ml.photos.checks.examined_file import ExaminedFile
from cannabis_ml.photos.checks.params import DefectParams

BRIGHTEST = 0.05
"""Share of a photo that counts as its brightest part."""

WHITE = 250
"""Level from which on a channel counts as white: JPEG leaves clipped ones a little below 255."""

_RETAKE = "Glance at the examples, and take again what you could not judge by eye yourself"


def _blurred(file: ExaminedFile, params: DefectParams) -> str | None:
    if file.sharpness is None or file.sharpness >= params.blurred_below:
        return None
    return f"Hardly an edge: variance of the Laplacian {file.sharpness:.1f}."


def _dark(file: ExaminedFile, params: DefectParams) -> str | None:
    if not file.gray.size:
        return None
    counts = cv2.calcHist([file.gray], [0], None, [256], [0, 256]).ravel()
    level = int(np.searchsorted(np.cumsum(counts), (1 - BRIGHTEST) * file.gray.size))
    if level >= params.dark_below:
        return None
    return f"Its brightest parts begin at grey level {level} of 255."


def _burnt_out(file: ExaminedFile, params: DefectParams) -> str | None:
    if file.photo is None or (file.brightness or 0) < params.burnt_out_above * WHITE - 1:
        return None  # so much white would be brighter, even on black
    white = cv2.inRange(file.photo.pixels, (WHITE, WHITE, WHITE), (255, 255, 255))
    share = cv2.countNonZero(white) / white.size
    return f"{share:.0%} of it is white." if share > params.burnt_out_above else None


def _almost_uniform(file: ExaminedFile, params: DefectParams) -> str | None:
    if file.photo is None or (file.contrast or 0) >= params.almost_uniform_below:
        return None  # luma cannot vary more than the channels that it is made of
    spread = float(cv2.meanStdDev(file.photo.pixels)[1].max())
    if spread >= params.almost_uniform_below:
        return None
    return f"Of one colour: the standard deviation is {spread:.1f} of 255."


_flagged = partial(Check, kind="flagged")

FLAGGED = (
    # Mould, trichomes and early disease are texture. The variance of the Laplacian (Pech-Pacheco
    # et al. 2000, "Diatom autofocusing in brightfield microscopy") is taken at a fixed size, so
    # that it means the same for a phone's photo and a thumbnail. It falls with contrast too: a
    # smooth leaf that fills the photo comes near blur. Threshold: `blurred_below`.
    _flagged(
        name="blurred",
        title="Blurred",
        about="Hardly any sharp edge.",
        advice=_RETAKE,
        find=_blurred,
    ),
    # Underexposed photos are mostly noise. The 95th percentile counts, not the mean, so that a
    # well-lit leaf on a black background passes. Threshold: `dark_below`, a gray level.
    _flagged(
        name="dark",
        title="Dark",
        about="Hardly any light: underexposed.",
        advice=_RETAKE,
        find=_dark,
    ),
    # No processing brings back overexposed detail. Subjects on a white background are common and
    # fine: the most spacious of those looked at are 83% white. Threshold: `burnt_out_above`.
    _flagged(
        name="burnt_out",
        title="Burnt out",
        about="Large parts are plain white.",
        advice=_RETAKE,
        find=_burnt_out,
    ),
    # A wall, a lens cap, a finger, an image that a site shows where the real one is gone.
    # Threshold: `almost_uniform_below`, the standard deviation of the channel that varies most.
    _flagged(
        name="almost_uniform",
        title="Almost uniform",
        about="One colour nearly everywhere.",
        advice="Glance at the examples, and delete what shows no plant",
        find=_almost_uniform,
    ),
)
