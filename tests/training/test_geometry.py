import numpy as np
import pytest

from cannabis_ml.training.data import augment
from cannabis_ml.training.geometry import (
    ERASED,
    TRANSFORMS,
    erase,
    rotate,
    shear,
    tilt,
    transform,
)
from cannabis_ml.training.schedule import TrainingParams


@pytest.fixture
def random():
    return np.random.default_rng(5)


def slope(side=64):
    """Red rises to the right, green downwards; blue marks nothing."""
    across = np.linspace(0, 252, side)
    photo = np.zeros((side, side, 3), np.uint8)
    photo[..., 0], photo[..., 1] = across[None, :], across[:, None]
    return photo


def test_a_full_rotation_is_a_quarter_turn(random):
    photo = slope()
    np.testing.assert_allclose(
        rotate(photo, 1.0, random).astype(int), np.rot90(photo).astype(int), atol=2
    )


@pytest.mark.parametrize("which", [rotate, shear, tilt])
def test_no_strength_changes_nothing(which, random):
    np.testing.assert_array_equal(which(slope(), 0.0, random), slope())


def test_shear_keeps_one_axis(random):
    photo = slope()
    sheared = [shear(photo, 1.0, random) for _ in range(8)]
    rows_kept = [np.abs(s[..., 1].astype(int) - photo[..., 1]).max() <= 1 for s in sheared]
    columns_kept = [np.abs(s[..., 0].astype(int) - photo[..., 0]).max() <= 1 for s in sheared]
    assert {(True, False), (False, True)} == set(zip(rows_kept, columns_kept, strict=True))


def test_the_erased_square_has_the_mean_color(random):
    photo = slope()
    erased = erase(photo, 1.0, random)
    changed = (erased != photo).any(2)
    # Where the photo has its mean color itself nothing changes.
    assert 0.9 * (ERASED * 64) ** 2 <= changed.sum() <= (ERASED * 64) ** 2
    np.testing.assert_allclose(erased[changed].mean(0), photo.reshape(-1, 3).mean(0), atol=1)
    np.testing.assert_array_equal(photo, slope())


def test_every_transform_and_none_are_drawn_alike():
    photo = slope()
    seen = [transform(photo, 1.0, np.random.default_rng(seed)) for seed in range(500)]
    unchanged = sum(np.array_equal(one, photo) for one in seen)
    assert 60 < unchanged < 140  # 1 in 5
    assert all(one.shape == photo.shape and one.dtype == np.uint8 for one in seen)
    assert len(TRANSFORMS) == 4


def test_training_transforms_where_it_is_told_to():
    photo = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)
    views = {}
    for strength in (0.0, 0.5):
        params = TrainingParams(geometry=strength)
        views[strength] = [
            augment(photo, 32, params, np.random.default_rng(seed)) for seed in range(20)
        ]
        again = augment(photo, 32, params, np.random.default_rng(3))
        np.testing.assert_array_equal(again, views[strength][3])
    same = [np.array_equal(a, b) for a, b in zip(views[0.0], views[0.5], strict=True)]
    assert 0 < sum(same) < 10
