"""The checks of ingestion, on a photo that an answer is wanted for."""

import cv2
import numpy as np
import pytest

from cannabis_ml.inference.photo_faults import CHECKS, EXPLAINED_BY, photo_faults
from cannabis_ml.photos.checks.examined_file import examine_bytes, examine_pixels
from cannabis_ml.photos.checks.flagged import FLAGGED
from cannabis_ml.photos.checks.params import DefectParams

LIMITS = DefectParams()


def noise(height=300, width=320, low=0, high=256):
    return np.random.default_rng(0).integers(low, high, (height, width, 3), dtype=np.uint8)


GRADIENT = np.tile(np.linspace(40, 210, 320).astype(np.uint8)[None, :, None], (300, 1, 3))


def names(photo, image_size=224, defects=LIMITS):
    return [fault.name for fault in photo_faults(photo, image_size, defects)]


def test_a_sharp_and_well_lit_photo_has_none():
    assert names(noise()) == []


@pytest.mark.parametrize(
    ("fault", "photo"),
    [
        ("blurred", GRADIENT),
        ("dark", noise(high=20)),
        ("burnt_out", np.full((300, 320, 3), 255, np.uint8)),
        ("almost_uniform", np.full((300, 320, 3), 120, np.uint8)),
        ("too_small", noise(40, 50)),
    ],
)
def test_the_one_cause_is_named(fault, photo):
    assert names(photo) == [fault]


def test_a_photo_is_too_small_where_the_model_enlarges_it_more_than_twice():
    assert names(noise(112, 200), image_size=224) == []
    assert names(noise(111, 200), image_size=224) == ["too_small"]
    assert names(noise(111, 200), image_size=64) == []
    assert names(noise(31, 200), image_size=16) == ["too_small"]  # as ingestion sets aside
    (fault,) = photo_faults(noise(40, 50), 224, LIMITS)
    assert (fault.width, fault.height) == (50, 40)


def test_thresholds_are_those_that_are_given():
    assert names(noise(), defects=DefectParams(dark_below=255)) == ["dark"]


def test_every_check_that_flags_photos_is_asked():
    assert [check.name for check in CHECKS] == ["too_small", *(check.name for check in FLAGGED)]
    known = {check.name for check in CHECKS}
    assert set(EXPLAINED_BY).union(*EXPLAINED_BY.values()) <= known


def test_pixels_are_judged_as_the_file_that_they_come_from():
    photo = noise(400, 500)
    data = cv2.imencode(".png", photo[..., ::-1])[1].tobytes()
    in_file, in_memory = examine_bytes("a.png", data, LIMITS), examine_pixels(photo)
    np.testing.assert_array_equal(in_file.photo.pixels, in_memory.photo.pixels)
    assert (in_memory.photo.width, in_memory.photo.height) == (500, 400)
    assert in_file.sharpness == in_memory.sharpness
