import numpy as np
import pytest
from PIL import Image

from cannabis_ml.inference.heat_map import (
    MOST_DROP,
    PARTS,
    SHORT_SIDE,
    attention_heat_map,
    file_name,
    occlusion,
    occlusion_heat_map,
    relative_weights,
    save_png,
)

GRAY = np.full((60, 60, 3), 128, np.uint8)


def draw_heat_map(photo, attention):
    return attention_heat_map(photo, attention).image


def warmth(image):
    """Red less blue: above 0 where a gray photo is tinted orange, below where it is blue."""
    shown = np.asarray(image, int)
    return shown[..., 0] - shown[..., 2]


def test_weights_are_those_that_features_are_scaled_by():
    np.testing.assert_allclose(relative_weights(np.array([[0.75, 0.25]])), [[1.5, 0.5]])


def test_what_weighs_most_is_orange_and_what_weighs_least_blue_where_they_lie():
    attention = np.full((6, 6), 0.4)
    attention[1, 4], attention[4, 1] = 0.9, 0.1
    shown = warmth(draw_heat_map(GRAY, attention))
    for extreme, (row, column) in ((shown.argmax(), (1, 4)), (shown.argmin(), (4, 1))):
        top, left = np.unravel_index(extreme, shown.shape)
        assert (top // 10, left // 10) == (row, column)
    assert shown.max() > 50
    assert shown.min() < -50


def test_half_the_mean_is_tinted_as_much_as_twice_the_mean():
    """By hand: opacity 0.6 of orange, (255, 140, 0), over gray 128."""
    attention = np.array([[2.0, 0.5, 0.5]]).repeat(3, axis=0)  # mean 1
    shown = np.asarray(draw_heat_map(GRAY, attention))
    np.testing.assert_array_equal(shown[30, 2], [204, 135, 51])
    np.testing.assert_array_equal(shown[30, 57], [69, 87, 153])


def test_an_even_map_leaves_the_photo_as_it_is():
    """A map that is stretched to its extremes would look like a discovery."""
    np.testing.assert_array_equal(draw_heat_map(GRAY, np.full((4, 4), 0.3)), GRAY)
    almost = 0.5 + 0.001 * np.arange(16).reshape(4, 4) / 15
    assert np.abs(np.asarray(draw_heat_map(GRAY, almost), int) - 128).max() <= 1


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
    assert (shown[is_seen] == 200).all()


def test_large_photos_make_no_large_heat_maps():
    photo = np.zeros((1200, 1600, 3), np.uint8)
    assert draw_heat_map(photo, np.ones((7, 7))).size == (
        round(1600 * SHORT_SIDE / 1200),
        SHORT_SIDE,
    )


def striped(side=64, lines=slice(None)):
    """Gray, with fine lines in some rows and columns."""
    photo = np.full((side, side, 3), 128, np.uint8)
    photo[lines] = np.where(np.arange(side)[:, None] % 2, 255, 0)[None, : photo[lines].shape[1]]
    return photo


def details_at_the_top_left(squares):
    """Answers that rest on the contrast of one corner, of 2 x 2 cells, alone."""
    corner = np.stack(squares)[:, :16, :16].astype(float)
    return corner.std(axis=(1, 2, 3)) / 255


def test_answers_rest_on_what_they_lose_by_its_blurring():
    drops = occlusion(striped(), details_at_the_top_left)
    assert drops.shape == (PARTS, PARTS)
    assert np.unravel_index(drops.argmax(), drops.shape) == (0, 0)
    np.testing.assert_allclose(drops[3:], 0, atol=1e-12)
    np.testing.assert_allclose(drops[:, 3:], 0, atol=1e-12)


def test_a_cell_has_the_mean_of_the_windows_that_blur_it():
    """By hand, where only the first window costs something, 0.4: one window blurs the corner, two
    the cell beside it, four the one inside."""
    asked = []

    def ask(squares):
        asked.append(len(squares))
        found = np.full(len(squares), 0.9)
        found[1] = 0.5
        return found

    drops = occlusion(striped(), ask)
    assert asked == [1 + (PARTS - 1) ** 2]
    np.testing.assert_allclose(drops[:2, :2], [[0.4, 0.2], [0.2, 0.1]])
    assert np.count_nonzero(drops) == 4


@pytest.mark.parametrize("side", [16, 65, 224])
def test_every_part_of_the_photo_is_blurred_whatever_its_size(side):
    seen = []
    occlusion(striped(side), lambda squares: seen.extend(squares) or np.ones(len(squares)))
    changed = np.any([(one != seen[0]).any(axis=2) for one in seen[1:]], axis=0)
    assert changed.mean() > 0.9  # a line in the middle of the gray levels may stay


def test_what_answers_rest_on_is_orange_and_what_speaks_against_them_blue():
    def ask(squares):
        found = np.full(len(squares), 0.5)
        found[1] -= MOST_DROP
        found[-1] += MOST_DROP
        return found

    found = occlusion_heat_map(GRAY, striped(), ask)
    shown = warmth(found.image)
    assert (found.kind, found.most, found.is_even) == ("occlusion", MOST_DROP, False)
    assert shown[:4, :4].min() > 50
    assert shown[-4:, -4:].max() < -50
    assert np.abs(shown[25:35, 25:35]).max() <= 1
    even = occlusion_heat_map(GRAY, striped(), lambda squares: np.full(len(squares), 0.5))
    assert even.is_even
    np.testing.assert_array_equal(even.image, GRAY)


def test_names_are_ones_that_every_system_takes():
    assert file_name("field/leaf.1.jpg") == "leaf.1.heat_map.png"
    assert file_name("leaf.jpg", 'kind.a/b "c"') == "leaf.kind.a_b _c_.png"


def test_a_heat_map_is_written_into_a_new_folder(tmp_path):
    save_png(draw_heat_map(GRAY, np.ones((2, 2))), tmp_path / "new" / "leaf.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["leaf.png"]
    assert Image.open(tmp_path / "new" / "leaf.png").format == "PNG"
