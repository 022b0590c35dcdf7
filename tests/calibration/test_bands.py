import numpy as np
import pytest
from scipy.stats import binom

from cannabis_ml.calibration.bands import fit_band
from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.inference.bands import ConfidenceBand


def drawn(random, groups, copies=1, truth=lambda c: c):
    sure = np.repeat(random.beta(4, 1.5, groups), copies)
    right = np.repeat(random.random(groups) < truth(sure[::copies]), copies)
    return sure, right, np.repeat(np.arange(groups), copies)


def test_by_hand():
    confidence = np.array([0.5] * 10 + [0.9] * 40)
    right = np.array([True] * 6 + [False] * 4 + [True] * 34 + [False] * 6)
    band = fit_band(confidence, right, np.arange(50), near=0.1)
    assert band.around(0.5) == pytest.approx(wilson(6, 10))
    assert band.around(0.9) == pytest.approx(wilson(34, 40))
    # 0.05 nearer to certainty than the photos that are near.
    low, high = wilson(34, 40)
    assert band.around(0.95) == pytest.approx([low + 0.05, min(1, high + 0.05)])
    assert band.photos[50] == 10


def test_without_photos_nothing_is_known():
    band = fit_band(np.full(20, 0.9), np.ones(20, bool), np.arange(20))
    assert band.around(0.3) == pytest.approx([0, 1])
    empty = fit_band(np.zeros(0), np.zeros(0, bool), np.zeros(0))
    assert empty.around(0.7) == pytest.approx([0, 1])


def test_narrow_where_data_is_rich():
    sure, right, groups = drawn(np.random.default_rng(0), 2000)
    widths = np.diff(fit_band(sure, right, groups).around(np.array([0.2, 0.5, 0.8])), axis=1)[:, 0]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 0.1
    few = np.diff(fit_band(sure[:80], right[:80], groups[:80]).around(0.8))
    assert few > 3 * widths[2]


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize(
    "truth", [lambda c: c, lambda c: np.clip(1.2 * c - 0.2, 0, 1)], ids=["calibrated", "too sure"]
)
def test_the_band_holds_the_true_share_as_often_as_promised(copies, truth):
    """200 repetitions; asked at the confidence of one new photo each."""
    random = np.random.default_rng(copies)
    held = 0
    for _ in range(200):
        band = fit_band(*drawn(random, 150, copies, truth))
        new = random.beta(4, 1.5)
        low, high = band.around(new)
        held += low <= truth(new) <= high
    assert held >= binom.ppf(0.005, 200, 0.95)


def test_copies_do_not_narrow_the_band():
    sure, right, groups = drawn(np.random.default_rng(0), 120)
    band = fit_band(sure, right, groups)
    copied = fit_band(*(np.repeat(v, 6) for v in (sure, right, groups)))
    assert copied.around(0.8) == pytest.approx(band.around(0.8), abs=0.02)


def test_it_holds_the_confidence_itself_and_travels_as_json():
    sure, right, groups = drawn(np.random.default_rng(0), 300, truth=lambda c: 0.5 * c)
    band = ConfidenceBand.model_validate_json(fit_band(sure, right, groups).model_dump_json())
    asked = np.linspace(0, 1, 77)
    ends = band.around(asked)
    assert (ends[:, 0] <= asked).all()
    assert (asked <= ends[:, 1]).all()
    assert ends[60, 0] < 0.5 * asked[60] + 0.05


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="1 of 2 confidences"):
        fit_band(np.array([0.5, 1.2]), np.ones(2, bool), np.arange(2))
    with pytest.raises(ValueError, match="above its upper"):
        ConfidenceBand(level=0.9, low=[0.5, 0.5], high=[0.4, 1], photos=[1, 1])
