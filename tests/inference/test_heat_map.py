import numpy as np
import pytest
from PIL import Image

from cannabis_ml.inference.heat_map import (
    SHORT_SIDE,
    draw_heat_map,
    file_name,
    relative_weights,
    save_png,
)

GRAY = np.full((60, 60, 3), 128, np.uint8)


def brightness(image):
    return np.asarray(image, np.float64).sum(axis=2)


def test_weights_are_those_that_features_are_scaled_by():
    np.testing.assert_allclose(relative_weights(np.array([[0.75, 0.25]])), [[1.5, 0.5]])


def test_the_place_that_weighs_most_is_the_brightest_and_lies_where_it_lies_in_the_photo():
    attention = np.full((6, 6), 0.1)
    attention[1, 4] = 0.9
    shown = brightness(draw_heat_map(GRAY, attention))
    top, left = np.unravel_index(shown.argmax(), shown.shape)
    assert 10 <= top < 20
    assert 40 <= left < 50


def test_a_nearly_even_map_shows_no_discovery():
    """Its colors hardly differ, where a map that is stretched to its extremes would glare."""
    almost = 0.5 + 0.001 * np.arange(16).reshape(4, 4) / 15
    shown = brightness(draw_heat_map(GRAY, almost))
    assert shown.max() - shown.min() < 12  # of 765


def test_the_same_weight_has_the_same_color_in_every_photo():
    first, second = np.full((4, 4), 0.3), np.full((4, 4), 0.9)
    np.testing.assert_array_equal(draw_heat_map(GRAY, first), draw_heat_map(GRAY, second))


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (61, 61)])
def test_what_the_model_does_not_see_is_dark_and_uncolored(height, width):
    photo = np.full((height, width, 3), 200, np.uint8)
    shown = np.asarray(draw_heat_map(photo, np.full((3, 3), 0.5)))
    assert shown.shape == photo.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    is_seen = np.zeros((height, width), bool)
    is_seen[top : top + side, left : left + side] = True
    assert (shown[~is_seen] == 50).all()
    assert (np.ptp(shown[is_seen].astype(int), axis=1) > 0).all()


def test_large_photos_make_no_large_heat_maps():
    photo = np.zeros((1200, 1600, 3), np.uint8)
    assert draw_heat_map(photo, np.ones((7, 7))).size == (
        round(1600 * SHORT_SIDE / 1200),
        SHORT_SIDE,
    )


def test_names_are_ones_that_every_system_takes():
    assert file_name("field/leaf.1.jpg") == "leaf.1.heat_map.png"
    assert file_name("leaf.jpg", 'kind.a/b "c"') == "leaf.kind.a_b _c_.png"


def test_a_heat_map_is_written_into_a_new_folder(tmp_path):
    save_png(draw_heat_map(GRAY, np.ones((2, 2))), tmp_path / "new" / "leaf.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["leaf.png"]
    assert Image.open(tmp_path / "new" / "leaf.png").format == "PNG"
