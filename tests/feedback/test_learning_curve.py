import numpy as np
import pytest

from cannabis_ml.feedback.learning_curve import (
    CurveParams,
    LearningCurve,
    advise,
    fit_power_law,
    measure_curve,
    rounded,
)

PARAMS = CurveParams()


def curve_of(a, b, c, available=100, name="extract", draws=200):
    return LearningCurve(name, np.ones(1), np.ones(1), available, np.tile([a, b, c], (draws, 1)))


def test_a_power_law_is_found_again():
    photos = np.array([20.0, 40, 80, 160, 320])
    a, b, c = fit_power_law(photos, 0.05 + 0.8 * photos**-0.5)
    assert (a, b, c) == pytest.approx((0.05, 0.8, 0.5), rel=0.1)  # c is one of a grid


def test_error_never_falls_below_zero_or_with_fewer_photos():
    photos = np.array([20.0, 40, 80])
    a, b, _ = fit_power_law(photos, [0.3, 0.1, 0.01])
    assert a == 0
    assert b > 0
    a, b, _ = fit_power_law(photos, [0.1, 0.2, 0.3])  # grows by chance: flat
    assert (a, b) == (pytest.approx(0.2), 0)


def test_photos_needed_follow_from_the_curve():
    """0.1 = n^-0.5 at n = 100, which are there; 0.05 at n = 400."""
    curve = curve_of(0, 1, 0.5)
    assert curve.expected(100)[0] == pytest.approx(0.9)
    assert curve.needed(0.95)[0] == pytest.approx(400)


def test_a_class_is_reported_how_many_more_photos_it_takes():
    """An error of 0.1 = 1.265 n^-0.5 takes n = 160: 60 more than the 100 that are there."""
    told = advise("product_type", curve_of(0, 1.265, 0.5), PARAMS)
    assert told.more == 61  # 160.02 photos, rounded up
    assert told.text.startswith("About 60 more photos of 'extract' for 90%; 87% now.")


def test_a_class_that_has_enough_is_reported_so():
    told = advise("product_type", curve_of(0.02, 0.001, 1, name="plant"), PARAMS)
    assert told.more == 0
    assert told.text == (
        "More photos of 'plant' would change nothing: 98% is right now, and twice as many would"
        " bring 0.0 points."
    )


def test_what_no_number_of_photos_reaches_is_reported():
    told = advise("product_type", curve_of(0.15, 1, 0.5), PARAMS)
    assert told.more is None
    assert told.text.startswith("No number of photos of 'extract' that the curve reaches")


def test_a_target_that_only_the_luckiest_curves_reach_is_not_promised():
    """One curve in ten reaches 90%: no number of photos is named as enough."""
    fits = np.tile([0.2, 1.0, 0.5], (200, 1))
    fits[:20, 0] = 0.0
    told = advise("h", LearningCurve("extract", np.ones(1), np.ones(1), 80, fits), PARAMS)
    assert (told.more, told.more_low, told.more_high) == (None, 21, None)
    assert told.text == (
        "Whether more photos of 'extract' make 90%, the curve leaves open (69% now, +3.3 points"
        " with twice as many): probably no number does, and surely none below 20 more."
    )


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        # A target just ahead is told of, even where the curve is nearly flat.
        ((0.09, 0.13, 0.5), "About 70 more photos of 'extract' for 90%; 89.7% now."),
        ((0.2, 0.01, 0.5), "More photos of 'extract' would change nothing: 80% is right now"),
    ],
)
def test_a_flat_curve_changes_nothing_unless_the_target_is_near(fit, told):
    fits = np.tile(fit, (200, 1))
    curve = LearningCurve("extract", np.ones(1), np.ones(1), 100, fits)
    assert advise("h", curve, PARAMS).text.startswith(told)


def test_an_interval_without_an_upper_end_is_reported():
    fits = np.tile([0.0, 1.265, 0.5], (200, 1))
    fits[:40, 0] = 0.2
    told = advise("h", LearningCurve("extract", np.ones(1), np.ones(1), 100, fits), PARAMS)
    assert told.more == 61
    assert told.more_high is None
    assert "(at least 60)" in told.text


@pytest.mark.parametrize(("photos", "told"), [(7, 7), (61, 60), (99, 100), (1234, 1200)])
def test_numbers_are_as_exact_as_a_curve(photos, told):
    assert rounded(photos) == told


@pytest.fixture(scope="module")
def blobs():
    """240 photos of 3 classes in 12 dimensions: 2 is easy, 0 and 1 overlap."""
    random = np.random.default_rng(1)
    labels = np.arange(240) % 3
    centers = np.zeros((3, 12))
    centers[0, 0], centers[1, 1], centers[2, 2] = 1.5, 1.5, 8
    return centers[labels] + random.normal(size=(240, 12)), labels


def test_a_curve_rises_and_its_sizes_are_nested(blobs):
    components, labels = blobs
    curve = measure_curve(components, labels, np.arange(240), PARAMS)
    assert curve.photos.tolist() == sorted(curve.photos)
    assert curve.photos[-1] == pytest.approx(0.8 * 240)
    assert curve.right[-1] > curve.right[0]
    value, (low, high) = curve.expected(240)
    assert low <= value <= high


def test_an_easy_class_needs_no_more_photos(blobs):
    components, labels = blobs
    curve = measure_curve(components, labels, np.arange(240), PARAMS, (2, "plant"))
    assert curve.available == 80
    assert "would change nothing" in advise("h", curve, PARAMS).text


def test_the_same_seed_gives_the_same_curve(blobs):
    components, labels = blobs
    one, two = (measure_curve(components, labels, np.arange(240) // 2, PARAMS) for _ in range(2))
    np.testing.assert_array_equal(one.fits, two.fits)


def test_a_class_of_one_group_has_no_curve(blobs):
    components, labels = blobs
    groups = np.where(labels == 0, 1000, np.arange(240))
    with pytest.raises(ValueError, match="one group"):
        measure_curve(components, labels, groups, PARAMS, (0, "extract"))
