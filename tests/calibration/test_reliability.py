"""Bands, sets and back-off, each photo calibrated by what did not see its group."""

import numpy as np
import pytest

from cannabis_ml.calibration import calibrator_fits
from cannabis_ml.calibration.choices import ChoiceParams
from cannabis_ml.calibration.conformal import fit_sets
from cannabis_ml.calibration.reliability import (
    ReliabilityParams,
    calibrated_out_of_fold,
    fit_reliability,
)
from cannabis_ml.evaluation.answered import Calibrated, LabeledOutputs
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.reliability import TierRules
from cannabis_ml.taxonomy import MISSING, Taxonomy

KIND = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": list("abcd")}]})
CROPS = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "plant", "classes": ["a", "b"]},
            {
                "name": "pest",
                "parent": "plant",
                "classes": ["x", "y", "z", "w"],
                "allowed": {"a": ["x", "y"], "b": ["z", "w"]},
            },
            {"name": "look", "kind": "multilabel", "classes": ["dry", "wet"]},
        ]
    }
)
CHOICE = ChoiceParams()


def photos_of_kind(drawn, count=300, power=3.0, seed=0, burst=1):
    probs = drawn.true_probs(count, 4, seed)
    labels = drawn.labels_from(probs, seed)
    said = drawn.sharpened(probs, power)
    return LabeledOutputs({"kind": said}, {"kind": labels}, np.arange(count) // burst)


def out_of_fold(photos, chosen, choice=CHOICE, taxonomy=KIND):
    return calibrated_out_of_fold(photos, taxonomy, DecisionRule(), chosen, choice)


def test_a_photo_is_calibrated_by_others_alone(drawn):
    photos = photos_of_kind(drawn, 60, burst=2)
    before = out_of_fold(photos, {"kind": "temperature"}).outputs["kind"]
    # Another label of the first burst changes nothing about how its own photos are calibrated.
    other = photos.truth["kind"].copy()
    other[:2] = (other[:2] + 1) % 4
    changed = LabeledOutputs(photos.outputs, {"kind": other}, photos.groups)
    after = out_of_fold(changed, {"kind": "temperature"}).outputs["kind"]
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2:] - after[2:]).max() > 0


def test_each_fold_is_what_a_fit_to_the_others_gives(drawn):
    from cannabis_ml.calibration.examples import examples_of

    photos = photos_of_kind(drawn, 40)
    choice = ChoiceParams(folds=2, seed=3)
    found = out_of_fold(photos, {"kind": "temperature"}, choice)
    fold = np.random.default_rng(3).permutation(40) % 2
    examples = examples_of(KIND["kind"], KIND, photos.outputs, photos.truth, photos.groups)
    for part in (0, 1):
        fitted = calibrator_fits.fit_temperature(examples.at(fold != part))
        expected = fitted.apply(photos.outputs["kind"][fold == part])
        np.testing.assert_allclose(found.outputs["kind"][fold == part], expected)


def test_without_calibrators_outputs_stay(drawn):
    photos = photos_of_kind(drawn, 10)
    found = out_of_fold(photos, {"kind": "none"})
    np.testing.assert_array_equal(found.outputs["kind"], photos.outputs["kind"])


@pytest.mark.slow
def test_sets_of_overconfident_models_cover_as_promised_on_new_photos(drawn):
    """200 times: a calibrator and limits fitted to 60 photos, and one new photo."""
    covered = []
    for seed in range(200):
        photos = photos_of_kind(drawn, 61, seed=seed)
        old, new = photos.at(np.arange(60)), photos.at(np.array([60]))
        chosen = {"kind": "temperature"}
        calibrated = out_of_fold(old, chosen, ChoiceParams(folds=3))
        fitted, _ = fit_reliability(old, calibrated, KIND, ReliabilityParams(), [])
        from cannabis_ml.calibration.examples import examples_of

        examples = examples_of(KIND["kind"], KIND, old.outputs, old.truth, old.groups)
        rule = DecisionRule(calibrators={"kind": calibrator_fits.fit_temperature(examples)})
        found = TierRules(Decision(KIND, rule), fitted).apply(new.outputs)
        covered.append(bool(found.sets["kind"][0, new.truth["kind"][0]]))
    # 90% promised; the binomial interval of 200.
    assert 0.85 <= np.mean(covered) <= 0.97


@pytest.fixture(scope="module")
def crops():
    """Plants that are told well, and pests that are not; some labels are missing."""
    random = np.random.default_rng(0)
    plant, pest = random.integers(0, 2, 120), random.integers(0, 2, 120)
    right = 0.97 * (plant[:, None] == np.arange(2)) + 0.03 * (plant[:, None] != np.arange(2))
    sure = np.where(random.random(120) < 0.5, 0.95, 0.55)
    guess = np.where(random.random(120) < sure, pest, 1 - pest)
    given = np.zeros((120, 2, 4))
    for above in (0, 1):
        for k in (0, 1):
            given[:, above, 2 * above + k] = np.where(guess == k, sure, 1 - sure)
    outputs = {
        "plant": right,
        "pest": np.einsum("np,npk->nk", right, given),
        "pest.given": given,
        "look": np.tile([0.9, 0.2], (120, 1)),
    }
    pest_labels = 2 * plant + pest
    pest_labels[:20] = MISSING
    look = np.tile([1.0, 0.0], (120, 1))
    look[:, 1] = np.nan
    truth = {"plant": plant, "pest": pest_labels, "look": look}
    return LabeledOutputs(outputs, truth, np.arange(120))


def test_every_head_gets_a_band_and_a_set_and_every_chain_a_back_off(crops):
    calibrated = Calibrated.of(Decision(CROPS), crops.outputs)
    params = ReliabilityParams.model_validate({"back_off": {"alpha": 0.15}})
    fitted, report = fit_reliability(crops, calibrated, CROPS, params, ["calibration"])
    assert list(fitted.bands) == ["plant", "pest", "look"]
    assert list(fitted.faults(CROPS)) == []
    expected = fit_sets(calibrated, crops.truth, crops.groups, CROPS).sets
    assert fitted.sets == expected
    (rule,) = fitted.back_off
    assert rule.heads == ["plant", "pest"]
    # Answers of 0.55 are wrong almost every other time, those of 0.95 seldom.
    assert 0.55 < rule.threshold <= 0.95
    assert report.back_off["pest"].risk < report.back_off["pest"].risk_without
    assert (report.bands["pest"].answers, report.bands["plant"].answers) == (100, 120)
    assert (report.photos, report.groups, report.splits) == (120, 120, ["calibration"])


def test_heads_without_a_label_have_nothing(crops):
    truth = {**crops.truth, "pest": np.full(120, MISSING)}
    bare = LabeledOutputs(crops.outputs, truth, crops.groups)
    calibrated = Calibrated.of(Decision(CROPS), bare.outputs)
    fitted, report = fit_reliability(bare, calibrated, CROPS, ReliabilityParams(), [])
    assert "pest" not in fitted.bands
    assert "pest" not in fitted.sets.heads
    assert fitted.back_off == []
    assert report.back_off == {}
