"""Errors of calibration: other implementations, known truth, and what chance makes of them."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom

from cannabis_ml.evaluation.calibration_error import (
    Events,
    binned_ece,
    perfect_binned_ece,
    perfect_smooth_ece,
    reliability,
    smooth_ece,
    smooth_ece_interval,
)

REPETITIONS = 200


def drawn(photos=300, power=1.0, seed=0):
    """Confidences whose logits are `power` times too large."""
    random = np.random.default_rng(seed)
    confidence = random.beta(4, 2, photos)
    happened = random.random(photos) < expit(logit(confidence) / power)
    return Events.of(confidence, happened)


def at_least(share):
    """How many of the repetitions hold what does so with this probability, but for 1 in 10,000."""
    return binom.ppf(1e-4, REPETITIONS, share)


# --- other implementations


@pytest.mark.parametrize("bins", [5, 15])
def test_ece_of_equal_width_agrees_with_torchmetrics(bins):
    torch = pytest.importorskip("torch")
    from cannabis_ml.networks.compat import ready_torchvision

    ready_torchvision()
    from torchmetrics.functional.classification import binary_calibration_error

    events = drawn(power=2.0)
    theirs = binary_calibration_error(
        torch.tensor(events.confidence), torch.tensor(events.happened.astype(int)), n_bins=bins
    )
    assert binned_ece(events, bins, equal_mass=False) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("photos", [300, 150, 60])
def test_ece_of_equal_mass_agrees_with_bins_of_scikit_learn(photos):
    """Its quantiles divide so many photos into 15 bins of one size, as ours do."""
    from sklearn.calibration import calibration_curve

    events = drawn(photos, power=2.0)
    right, said = calibration_curve(
        events.happened, events.confidence, n_bins=15, strategy="quantile"
    )
    edges = np.quantile(events.confidence, np.linspace(0, 1, 16))
    # As it does, a value on an inner edge belongs above.
    sizes = np.bincount(np.searchsorted(edges[1:-1], events.confidence), minlength=15)
    theirs = (sizes * np.abs(right - said)).sum() / photos
    assert binned_ece(events) == pytest.approx(theirs, abs=1e-6)


def test_ece_of_equal_mass_agrees_with_netcal():
    reason = "netcal pulls in Pyro, GPyTorch and TensorBoard"
    metrics = pytest.importorskip("netcal.metrics", reason=reason)
    events = drawn(300, power=2.0)
    theirs = metrics.ECE(15, equal_intervals=False)
    measured = theirs.measure(events.confidence, events.happened.astype(int))
    assert binned_ece(events) == pytest.approx(measured, abs=1e-6)


RELPLOT = {
    (60, 1.0): 0.09123366227285927,
    (300, 1.5): 0.06242334715583631,
    (300, 2.0): 0.10423668212755426,
    (2000, 1.2): 0.03201944712968545,
}
"""What relplot 1.0.3 gives of so many photos and this power, seed 3, on a mesh as fine as ours."""


@pytest.mark.parametrize("case", list(RELPLOT))
def test_smooth_ece_is_what_relplot_gave(case):
    """Where its Gaussian, cut at half the range, is not cut short: not for widths of 0.2."""
    assert smooth_ece(drawn(*case, seed=3)) == pytest.approx(RELPLOT[case], abs=1e-6)


@pytest.mark.parametrize("case", list(RELPLOT))
def test_smooth_ece_agrees_with_relplot(case, monkeypatch):
    reason = "relplot has a license of its own: it is not in the development extra"
    relplot = pytest.importorskip("relplot", reason=reason)
    monkeypatch.setattr(relplot.config, "smECE_mesh_pts", 1001)
    events = drawn(*case, seed=3)
    theirs = relplot.smECE(events.confidence, events.happened.astype(float))
    assert theirs == pytest.approx(RELPLOT[case], abs=1e-9)
    assert smooth_ece(events) == pytest.approx(theirs, abs=1e-6)


# --- by hand


def test_ece_by_hand():
    """Three bins of two: 0.1 and 0.2 with none, 0.5 and 0.7 with one, 0.9 twice with two."""
    events = Events.of(np.array([0.9, 0.1, 0.5, 0.2, 0.9, 0.7]), np.array([1, 0, 0, 0, 1, 1], bool))
    assert binned_ece(events, 3) == pytest.approx((0.15 + 0.1 + 0.1) / 3)


def test_equal_confidences_share_a_bin():
    events = Events.of(np.full(100, 0.7), np.arange(100) < 60)
    assert binned_ece(events) == pytest.approx(0.1)
    assert len(reliability(events).confidence) == 1


def test_smooth_ece_of_one_confidence_is_its_distance():
    """Whatever the width, all of the difference is at one place: 0.7 said, 0.6 true."""
    events = Events.of(np.full(1000, 0.7), np.arange(1000) < 600)
    assert smooth_ece(events) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("measure", [binned_ece, smooth_ece])
def test_copies_of_a_photo_count_as_one(measure):
    once = drawn(150, power=2.0)
    times = np.random.default_rng(0).integers(1, 6, 150)
    rows = np.repeat(np.arange(150), times)
    copies = Events.of(once.confidence[rows], once.happened[rows], rows)
    assert measure(copies) == pytest.approx(measure(once), abs=1e-9)


def test_certainties_are_judged():
    events = Events.of(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 1, 0, 1], bool))
    assert binned_ece(events) == pytest.approx(0.5)
    assert 0 < smooth_ece(events) <= 0.5 + 1e-9
    assert np.isfinite(smooth_ece_interval(events)).all()


# --- known truth


def test_both_errors_find_a_known_miscalibration():
    """The truth is the mean distance of confidence and probability, all on one side."""
    events = drawn(400_000, power=2.0)
    true = np.abs(events.confidence - expit(logit(events.confidence) / 2)).mean()
    assert binned_ece(events) == pytest.approx(true, rel=0.05)
    # Smoothing rounds off where the difference changes its sign, at 0.5.
    assert true * 0.8 < smooth_ece(events) <= true


@pytest.mark.slow
@pytest.mark.parametrize("photos", [80, 230])
@pytest.mark.parametrize(
    ("measure", "perfect"), [(binned_ece, perfect_binned_ece), (smooth_ece, perfect_smooth_ece)]
)
def test_perfect_models_lie_within_the_band_of_perfection(photos, measure, perfect):
    inside = 0
    for seed in range(REPETITIONS):
        events = drawn(photos, power=1.0, seed=seed)
        low, high = np.quantile(perfect(events, draws=200, seed=seed), [0.025, 0.975])
        inside += low <= measure(events) <= high
    # 200 draws put the ends a little off: 94% instead of 95%.
    assert at_least(0.94) <= inside < REPETITIONS


def test_a_model_that_is_far_too_sure_lies_above_the_band_of_perfection():
    above = 0
    for seed in range(20):
        events = drawn(230, power=3.0, seed=seed)
        above += smooth_ece(events) > np.quantile(perfect_smooth_ece(events, 200), 0.975)
    assert above >= 18


@pytest.mark.slow
@pytest.mark.parametrize("power", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("photos", [80, 300])
def test_the_interval_of_smooth_ece_holds_the_truth_as_often_as_promised(photos, power):
    truth = smooth_ece(drawn(1_000_000, power, seed=12345))
    held = 0
    for seed in range(REPETITIONS):
        low, high = smooth_ece_interval(drawn(photos, power, seed), draws=200, seed=seed)
        held += low <= truth <= high
    assert held >= at_least(0.94)


@pytest.mark.slow
def test_the_interval_holds_the_truth_also_with_copies_of_photos():
    """80 photos, each one to six times: without groups the interval would be too narrow."""
    truth = smooth_ece(drawn(1_000_000, 1.3, seed=12345))
    held = {True: 0, False: 0}
    for seed in range(REPETITIONS):
        once = drawn(80, 1.3, seed)
        rows = np.repeat(np.arange(80), np.random.default_rng(seed).integers(1, 7, 80))
        for grouped in (True, False):
            groups = rows if grouped else None
            events = Events.of(once.confidence[rows], once.happened[rows], groups)
            low, high = smooth_ece_interval(events, draws=200, seed=seed)
            held[grouped] += low <= truth <= high
    assert held[True] >= at_least(0.94)
    assert held[False] < held[True]


@pytest.mark.parametrize("photos", [80, 300])
def test_bins_of_perfect_models_lie_within_the_consistency_band(photos):
    inside = bins = 0
    for seed in range(REPETITIONS):
        found = reliability(drawn(photos, 1.0, seed), bins=5, draws=200, seed=seed)
        inside += ((found.low <= found.happened) & (found.happened <= found.high)).sum()
        bins += len(found.happened)
    assert bins == 5 * REPETITIONS
    assert inside >= binom.ppf(1e-4, bins, 0.94)


def test_one_draw_decides_on_the_class_of_a_photo():
    """Of events that start where others end, just one happens, as often as it was said."""
    probs = np.array([[0.2, 0.5, 0.3]] * 50)
    starts = probs.cumsum(axis=1) - probs
    outcomes = []
    for k in range(3):
        plain = Events.of(probs[:, k], np.zeros(50, bool))
        events = Events(plain.confidence, plain.happened, plain.groups, plain.shared, starts[:, k])
        outcomes.append(np.concatenate(list(events.drawn(400, seed=1))))
    assert (np.sum(outcomes, axis=0) == 1).all()
    np.testing.assert_allclose([one.mean() for one in outcomes], probs[0], atol=0.02)


def test_photos_of_a_group_share_their_luck():
    events = Events.of(np.full(6, 0.5), np.zeros(6, bool), np.array([0, 0, 0, 1, 1, 2]))
    outcomes = np.concatenate(list(events.drawn(300, seed=0)))
    assert (outcomes[:, 0] == outcomes[:, 2]).all()
    assert (outcomes[:, 3] == outcomes[:, 4]).all()
    assert not (outcomes[:, 0] == outcomes[:, 3]).all()


def test_the_same_seed_gives_the_same_bands():
    events = drawn(200, 1.5)
    assert smooth_ece_interval(events, seed=4) == smooth_ece_interval(events, seed=4)
    np.testing.assert_array_equal(
        perfect_smooth_ece(events, 50, 4), perfect_smooth_ece(events, 50, 4)
    )
    assert smooth_ece_interval(events, seed=4) != smooth_ece_interval(events, seed=5)
