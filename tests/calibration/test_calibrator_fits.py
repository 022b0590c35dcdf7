"""Each calibrator against an independent implementation, and against known truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from cannabis_ml.calibration.calibrator_fits import (
    fit_affine,
    fit_beta,
    fit_isotonic,
    fit_ordinal,
    fit_platt,
    fit_structured,
    fit_temperature,
    mean_log_loss,
)
from cannabis_ml.calibration.examples import Examples, calibrated
from cannabis_ml.inference.calibrators import COLDEST, HOTTEST, Ordinal, between, cumulative_logits

FITS = {
    "temperature": fit_temperature,
    "svs": lambda e: fit_structured(e, matrix=False),
    "sms": lambda e: fit_structured(e, matrix=True),
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
    "ordinal_scale": lambda e: fit_ordinal(e, "none"),
    "ordinal_shift": lambda e: fit_ordinal(e, "one"),
    "ordinal_shifts": lambda e: fit_ordinal(e, "each"),
}


def _confidence(examples):
    probs = examples.probs / examples.probs.sum(axis=1, keepdims=True)  # they come as float32
    return probs.max(axis=1), (probs.argmax(axis=1) == examples.labels).astype(int)


# --- independent implementations


@pytest.fixture
def probmetrics(monkeypatch):
    """probmetrics with its logits in float64 and its optimiser run to the end.

    As shipped it rounds logits to float32 and stops at a gradient of 1e-5, which alone moves
    probabilities by 1e-4.
    """
    reason = "probmetrics, and numba which it imports, are not in the development extra"
    calibrators = pytest.importorskip("probmetrics.calibrators", reason=reason)
    from probmetrics.calibrators import logistic

    minimize = logistic.torchmin.minimize

    def to_the_end(loss, start, method):
        options = {"gtol": 1e-10, "xtol": 0, "gtd_tol": 0, "max_iter": 5000}
        return minimize(loss, start.double(), method=method, options=options)

    monkeypatch.setattr(logistic.torchmin, "minimize", to_the_end)
    monkeypatch.setattr(
        logistic, "multiclass_probs_to_logits", lambda p: np.log(np.maximum(p, 1e-30))
    )
    return calibrators


REFERENCE = json.loads(Path(__file__).with_name("probmetrics.json").read_text())


@pytest.mark.parametrize("name", ["temperature", "svs", "sms"])
def test_calibrators_give_what_probmetrics_gave(name):
    probs, labels = np.array(REFERENCE["probs"]), np.array(REFERENCE["labels"])
    examples = Examples(probs, labels, np.arange(len(labels)))
    np.testing.assert_allclose(
        calibrated(examples, FITS[name](examples)), REFERENCE[name], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("power", [0.5, 1.0, 2.5])
def test_temperature_agrees_with_probmetrics(probmetrics, drawn, power):
    examples = drawn.examples(power=power)
    theirs = probmetrics.get_calibrator("ts-mix").fit(examples.probs, examples.labels)
    ours = calibrated(examples, fit_temperature(examples))
    np.testing.assert_allclose(ours, theirs.predict_proba(examples.probs), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "class_name"), [("svs", "SVSCalibrator"), ("sms", "SMSCalibrator")]
)
def test_structured_scaling_agrees_with_probmetrics(probmetrics, drawn, name, class_name):
    examples = drawn.examples(power=2.0)
    theirs = getattr(probmetrics, class_name)().fit(examples.probs, examples.labels)
    ours = calibrated(examples, FITS[name](examples))
    np.testing.assert_allclose(ours, theirs.predict_proba(examples.probs), atol=1e-6)


def test_temperature_agrees_with_netcal(drawn):
    reason = "netcal pulls in Pyro, GPyTorch and TensorBoard"
    scaling = pytest.importorskip("netcal.scaling", reason=reason)
    examples = drawn.examples(power=2.0)
    theirs = scaling.TemperatureScaling().fit(examples.probs, examples.labels)
    ours = fit_temperature(examples).model_copy(update={"smoothing": 0.0})
    # netcal stops its optimiser earlier: 1e-4 in probabilities.
    np.testing.assert_allclose(
        calibrated(examples, ours), theirs.transform(examples.probs), atol=1e-4
    )


def test_platt_agrees_with_scikit_learn(drawn):
    """Also scikit-learn stops early, at a gradient of 1e-6 of the sum of log losses."""
    from sklearn.calibration import _SigmoidCalibration

    examples = drawn.examples(power=2.0)
    confidence, right = _confidence(examples)
    theirs = _SigmoidCalibration().fit(logit(confidence), right).predict(logit(confidence))
    np.testing.assert_allclose(fit_platt(examples).curve(logit(confidence)), theirs, atol=2e-6)


def test_beta_agrees_with_logistic_regression(drawn):
    """On log c and -log(1 - c), each photo twice with the weights of Platt's targets."""
    from sklearn.linear_model import LogisticRegression

    examples = drawn.examples(photos=800, power=2.0)
    confidence, right = _confidence(examples)
    hits, misses = right.sum(), (1 - right).sum()
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    x = np.stack([np.log(confidence), -np.log1p(-confidence)], axis=1)
    twice = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    twice.fit(
        np.concatenate([x, x]),
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    assert (twice.coef_ > 0).all()  # or it would not be a beta calibration
    ours = fit_beta(examples)
    np.testing.assert_allclose(
        ours.curve(logit(confidence)), twice.predict_proba(x)[:, 1], atol=1e-6
    )


def test_beta_agrees_with_betacal(drawn):
    betacal = pytest.importorskip("betacal", reason="betacal comes with the development extra")
    examples = drawn.examples(photos=800, power=2.0)
    confidence, right = _confidence(examples)
    hits, misses = right.sum(), (1 - right).sum()
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    theirs = betacal.BetaCalibration("abm").fit(
        np.tile(confidence, 2),
        np.repeat([1, 0], len(right)),
        np.concatenate([target, 1 - target]),
    )
    # It leaves LogisticRegression's tolerance at 1e-4.
    ours = fit_beta(examples).curve(logit(confidence))
    np.testing.assert_allclose(ours, theirs.predict(confidence), atol=1e-3)


def test_isotonic_agrees_with_scikit_learn(drawn):
    from sklearn.isotonic import IsotonicRegression

    examples = drawn.examples(power=2.0)
    confidence, right = _confidence(examples)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence, right)
    ours = fit_isotonic(examples)
    assert ours.smoothing == pytest.approx(1 / 501)
    unsmoothed = ours.model_copy(update={"smoothing": 0.0})
    grid = np.linspace(0.01, 0.999, 500)
    np.testing.assert_allclose(unsmoothed.curve(logit(grid)), theirs.predict(grid), atol=1e-6)


def test_a_scale_with_one_shift_agrees_with_logistic_regression_on_two_grades(drawn):
    """Its ridge of K / n on the shift is taken off by hand: its gradient must be the data's."""
    examples = drawn.examples(photos=600, classes=2, power=2.0)
    x = cumulative_logits(examples.probs)[:, 0]
    fitted = fit_ordinal(examples, "one")
    residual = expit(fitted.scale * x + fitted.shifts[0]) - (examples.labels == 1)
    assert np.mean(residual * x) == pytest.approx(0, abs=1e-7)
    assert np.mean(residual) == pytest.approx(-2 * 2 / 600 * fitted.shifts[0], abs=1e-7)


def test_affine_agrees_with_logistic_regression_where_photos_outweigh_the_prior():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    z = random.normal(size=(20_000, 1)) * 2
    labels = (random.random(z.shape) < expit(0.5 * z - 1)).astype(float)
    fitted = fit_affine(Examples(expit(z), labels, np.arange(len(z))), pooled=False)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(z, labels[:, 0])
    # The prior is one photo in 20,000, of which each tells about a tenth of what it weighs.
    assert fitted.slopes[0] == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert fitted.shifts[0] == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_the_prior_of_an_affine_calibrator_weighs_as_one_photo():
    """At the optimum the sum of the log losses' gradient is that of (slope - 1)² + shift²."""
    random = np.random.default_rng(1)
    z = random.normal(size=(60, 1)) * 2
    labels = (random.random(z.shape) < expit(0.3 * z - 1)).astype(float)
    fitted = fit_affine(Examples(expit(z), labels, np.arange(60)), pooled=False)
    residual = expit(fitted.slopes[0] * z + fitted.shifts[0]) - labels
    assert (residual * z).sum() == pytest.approx(-2 * (fitted.slopes[0] - 1), abs=1e-5)
    assert residual.sum() == pytest.approx(-2 * fitted.shifts[0], abs=1e-5)


# --- known truth


@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered(drawn, power):
    """Within five standard errors, by the curvature of the log loss, on 20,000 photos."""
    examples = drawn.examples(photos=20_000, power=power)
    found = fit_temperature(examples).temperature
    p = drawn.true_probs(20_000, 4)
    logs = np.log(p)
    information = ((p * logs**2).sum(axis=1) - (p * logs).sum(axis=1) ** 2).sum()
    assert abs(power / found - 1) < 5 / np.sqrt(information)


def test_temperature_is_unbiased_over_200_sets_of_photos(drawn):
    """The mean of 1 / T over 200 sets of 400 photos is that of the truth, within 4 errors."""
    found = [
        2.0 / fit_temperature(drawn.examples(photos=400, power=2.0, seed=seed)).temperature
        for seed in range(200)
    ]
    # Maximum likelihood overestimates by order 1 / n: that is allowed for by 1 / 400 × 2.
    assert abs(np.mean(found) - 1) < 4 * np.std(found) / np.sqrt(200) + 2 / 400


def test_a_known_scale_and_shift_of_attributes_are_recovered():
    random = np.random.default_rng(3)
    z = random.normal(size=(30_000, 3)) * 2
    slopes, shifts = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -2.0])
    labels = (random.random(z.shape) < expit(slopes * z + shifts)).astype(float)
    found = fit_affine(Examples(expit(z), labels, np.arange(len(z))), pooled=False)
    np.testing.assert_allclose(found.slopes, slopes, atol=0.1)
    np.testing.assert_allclose(found.shifts, shifts, atol=0.1)


@pytest.mark.parametrize(
    ("shifts", "kind"), [((0.0, 0.0, 0.0), "none"), ((0.7,) * 3, "one"), ((0.9, 0.1, -1.0), "each")]
)
def test_a_known_scale_and_shift_of_grades_are_recovered(drawn, shifts, kind):
    """What the model says is taken; the truth is made of it by a known calibrator."""
    said = drawn.true_probs(20_000, 4, 5)
    truth = Ordinal(scale=0.5, shifts=shifts)
    labels = drawn.labels_from(truth.apply(said), 5)
    found = fit_ordinal(Examples(said, labels, np.arange(len(said))), kind)
    assert found.scale == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(found.shifts, shifts, atol=0.08)


def test_a_class_predicted_too_often_is_mended_by_structured_scaling_alone(drawn):
    truth = drawn.true_probs(4000, 3, 6)
    labels = drawn.labels_from(truth, 6)
    said = truth * [1.0, 1.0, 6.0]
    examples = Examples(said / said.sum(axis=1, keepdims=True), labels, np.arange(4000))
    best = -np.mean((truth * np.log(truth)).sum(axis=1))
    loss = {
        name: mean_log_loss(examples, calibrated(examples, FITS[name](examples))) for name in FITS
    }
    assert loss["svs"] < best + 0.02 < loss["temperature"]


# --- nothing runs away


@pytest.mark.parametrize("name", list(FITS))
@pytest.mark.parametrize("case", ["all right", "all wrong", "coin", "certain", "one photo", "int8"])
def test_no_calibrator_runs_away(drawn, name, case):
    examples = drawn.examples(photos=60, power=3.0)
    top = examples.probs.argmax(axis=1)
    probs, labels = examples.probs, top
    if case == "all wrong":
        labels = (top + 1) % 4
    elif case == "coin":
        labels = np.random.default_rng(0).integers(0, 4, 60)
    elif case == "certain":
        probs, labels = np.eye(4)[top], np.where(np.arange(60) % 2, top, (top + 1) % 4)
    elif case == "one photo":
        probs, labels = probs[:1], labels[:1]
    elif case == "int8":
        probs = np.round(probs * 255) / 256
    examples = Examples(probs, labels, np.arange(len(labels)))
    fitted = FITS[name](examples)
    if name in ("temperature", "svs", "sms"):
        assert COLDEST <= fitted.temperature <= HOTTEST
    found = calibrated(examples, fitted)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    # Not worse on its own photos than a start that was said to be kept, but for what is mixed in.
    mixed_in = np.log1p(1 / len(labels)) + 0.02
    if name not in ("platt", "beta"):  # these are drawn towards not being certain
        assert mean_log_loss(examples, found) <= mean_log_loss(examples, probs) + mixed_in


def test_a_temperature_that_cannot_help_stays_at_one():
    """Every class is equally likely: all temperatures are the same."""
    examples = Examples(np.full((30, 3), 1 / 3), np.arange(30) % 3, np.arange(30))
    assert fit_temperature(examples).temperature == 1.0


def test_rare_attributes_share_what_they_learn():
    random = np.random.default_rng(7)
    z = random.normal(size=(400, 4)) * 2
    bias = np.array([0.0, 0.0, -5.0, -5.0])  # the last two are there on few photos
    labels = (random.random(z.shape) < expit(0.5 * z + bias)).astype(float)
    assert (labels.sum(axis=0) < 50).tolist() == [False, False, True, True]
    examples = Examples(expit(z), labels, np.arange(400))
    found = fit_affine(examples, pooled=False)
    assert found.slopes[2] == found.slopes[3]
    assert found.shifts[2] == found.shifts[3]
    assert found.slopes[0] != found.slopes[1]
    every = fit_affine(examples, pooled=True)
    assert len(set(every.slopes)) == len(set(every.shifts)) == 1


def test_an_attribute_without_a_label_stays_as_it_is():
    labels = np.array([[1.0, np.nan], [0.0, np.nan]] * 100)
    probs = np.random.default_rng(0).random((200, 2))
    found = fit_affine(Examples(probs, labels, np.arange(200)), pooled=False)
    assert (found.slopes[1], found.shifts[1]) == (1.0, 0.0)


@pytest.mark.parametrize("name", list(FITS))
def test_copies_of_a_photo_count_as_one(drawn, name):
    """Each photo of a set 1 to 5 times, in a group of its own, gives what the set gives."""
    once = drawn.examples(photos=150, power=2.0)
    times = np.random.default_rng(0).integers(1, 6, 150)
    copies = once.at(np.repeat(np.arange(150), times))
    assert copies.group_count == 150
    np.testing.assert_allclose(
        calibrated(once, FITS[name](copies)), calibrated(once, FITS[name](once)), atol=1e-5
    )


@pytest.mark.parametrize(
    "name", sorted(set(FITS) - {"svs", "sms", "ordinal_shift", "ordinal_shifts"})
)
def test_forbidden_classes_play_no_part(drawn, name):
    """One of five is forbidden on every photo: the other four are fitted as by themselves.

    Not where a ridge depends on the number of classes, forbidden ones included.
    """
    four = drawn.examples(photos=200, classes=4, power=2.0)
    probs = np.insert(four.probs, 2, 0.0, axis=1)
    labels = np.where(four.labels >= 2, four.labels + 1, four.labels)
    allowed = np.ones_like(probs, bool)
    allowed[:, 2] = False
    five = Examples(probs, labels, four.groups, allowed)
    found = calibrated(five, FITS[name](five))
    assert (found[:, 2] == 0).all()
    expected = calibrated(four, FITS[name](four))
    np.testing.assert_allclose(np.delete(found, 2, axis=1), expected, atol=1e-5)


def test_probabilities_between_falling_logits_are_exact_in_the_tails():
    """Of logits 50 and 49 the middle is e^-49 - e^-50, which a difference near 1 rounds to 0."""
    found = between(np.array([50.0, 49.0]))
    assert found[1] == pytest.approx(np.exp(-49) - np.exp(-50), rel=1e-9)
    assert found.sum() == pytest.approx(1)
