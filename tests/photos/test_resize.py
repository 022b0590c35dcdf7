"""Photos get smaller and square in one way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.photos.resize import center_crop_resize, shrink

SIDES = st.integers(1, 90)


@given(SIDES, SIDES, SIDES)
def test_shrink_reaches_the_short_side_and_never_enlarges(height, width, short_side):
    small = shrink(np.zeros((height, width, 3), np.uint8), short_side)
    assert min(small.shape[:2]) == min(height, width, short_side)
    assert small.shape[0] <= height
    assert small.shape[1] <= width


@given(SIDES, SIDES, st.integers(1, 64))
def test_fit_gives_a_square_of_the_size(height, width, size):
    assert center_crop_resize(np.zeros((height, width, 3), np.uint8), size).shape == (size, size, 3)


def test_shrink_keeps_the_aspect():
    assert shrink(np.zeros((300, 400, 3), np.uint8), 150).shape == (150, 200, 3)


def test_shrinking_averages_areas():
    # Each 2x2 block of a chessboard of 0 and 200 averages to 100.
    board = np.indices((8, 8)).sum(axis=0) % 2 * np.uint8(200)
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert (shrink(pixels, 4) == 100).all()
    assert (center_crop_resize(pixels, 4) == 100).all()


@pytest.mark.parametrize("shape", [(4, 10), (10, 4)])
def test_fit_cuts_the_center(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[shape[0] // 2 - 2 : shape[0] // 2 + 2, shape[1] // 2 - 2 : shape[1] // 2 + 2] = 255
    assert (center_crop_resize(pixels, 4) == 255).all()


def test_photo_of_the_right_size_is_untouched():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(center_crop_resize(pixels, 32), pixels)
    assert shrink(pixels, 32) is pixels
