"""What is said of the calibration of each kind of head."""

import json

import numpy as np
import pytest
from sklearn import metrics

from cannabis_ml.calibration.refinement import recalibrated
from cannabis_ml.evaluation.calibration_error import Events, binned_ece
from cannabis_ml.evaluation.calibration_scores import (
    CalibrationScores,
    score_calibration,
    score_head,
)
from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

KIND = Head(name="kind", classes=list("abcd"))
GRADE = Head(name="grade", kind="ordinal", classes=list("abcd"))
LOOK = Head(name="look", kind="multilabel", classes=list("xyz"))
FEW = {"draws": 100}


def _probs(photos=400, seed=0, power=1.0):
    """True probabilities, labels drawn from them, and what a model says that is too sure."""
    random = np.random.default_rng(seed)
    true = random.dirichlet([0.7] * 4, photos)
    labels = (true.cumsum(axis=1) < random.random((photos, 1))).sum(axis=1)
    said = true**power
    return said / said.sum(axis=1, keepdims=True), np.minimum(labels, 3)


def _attributes(photos=400, seed=0):
    random = np.random.default_rng(seed)
    probs = random.random((photos, 3))
    labels = (random.random((photos, 3)) < probs).astype(np.float64)
    labels[random.random((photos, 3)) < 0.2] = np.nan
    return probs, labels


def test_losses_agree_with_scikit_learn():
    probs, labels = _probs(power=2.0)
    found = score_head(KIND, probs, labels, **FEW)
    assert found.log_loss == pytest.approx(metrics.log_loss(labels, probs), abs=1e-9)
    brier = metrics.brier_score_loss(labels, probs, labels=range(4), scale_by_half=False)
    assert found.brier == pytest.approx(brier, abs=1e-9)
    assert found.accuracy == pytest.approx((probs.argmax(axis=1) == labels).mean())
    assert found.mean_confidence == pytest.approx(probs.max(axis=1).mean())


def test_losses_of_attributes_agree_with_scikit_learn():
    """Photos with all labels, so that the mean over photos is that over attributes."""
    probs, labels = _attributes()
    known = ~np.isnan(labels).any(axis=1)
    probs, labels = probs[known], labels[known]
    found = score_head(LOOK, probs, labels, **FEW)
    losses = [metrics.log_loss(labels[:, k], probs[:, k]) for k in range(3)]
    briers = [metrics.brier_score_loss(labels[:, k], probs[:, k]) for k in range(3)]
    assert found.log_loss == pytest.approx(np.mean(losses), abs=1e-9)
    assert found.brier == pytest.approx(np.mean(briers), abs=1e-9)


def test_unknown_labels_count_nowhere():
    probs, labels = _attributes()
    found = score_head(LOOK, probs, labels, **FEW)
    assert sum(one.answers for one in found.reliability) == (~np.isnan(labels)).sum()
    assert found.photos == (~np.isnan(labels).all(axis=1)).sum()
    probs, labels = _probs()
    labels[:100] = MISSING
    assert score_head(KIND, probs, labels, **FEW).photos == 300


@pytest.mark.parametrize("head", [KIND, GRADE])
def test_classwise_error_is_the_mean_over_classes_or_thresholds(head):
    probs, labels = _probs(power=1.5)
    if head.kind == "ordinal":
        each = [(1 - probs.cumsum(axis=1)[:, k], labels > k) for k in range(3)]
    else:
        each = [(probs[:, k], labels == k) for k in range(4)]
    expected = np.mean([binned_ece(Events.of(said, there)) for said, there in each])
    assert score_head(head, probs, labels, **FEW).classwise_ece.value == pytest.approx(expected)


def test_an_ordinal_answer_is_the_median():
    probs, labels = _probs()
    found = score_head(GRADE, probs, labels, **FEW)
    answer = GRADE.answer(probs)
    assert found.accuracy == pytest.approx((answer == labels).mean())
    assert found.mean_confidence == pytest.approx(probs[np.arange(400), answer].mean())


def test_a_model_that_is_too_sure_is_found_out_and_a_true_one_is_not():
    true = score_head(KIND, *_probs(), **FEW)
    sure = score_head(KIND, *_probs(power=3.0), **FEW)
    for name in ("smooth_ece", "ece", "classwise_ece"):
        assert not getattr(true, name).is_above_chance
        assert getattr(sure, name).is_above_chance
    low, high = sure.smooth_ece.interval
    assert 0 < low < sure.smooth_ece.value < high


def test_perfection_has_an_error_too_and_less_with_more_photos():
    few, many = (score_head(KIND, *_probs(n), **FEW).ece for n in (60, 2000))
    assert few.perfect_mean > 3 * many.perfect_mean > 0
    assert few.perfect_interval[0] < few.perfect_mean < few.perfect_interval[1]


def test_the_log_loss_splits_into_calibration_and_refinement():
    """Of a model that a temperature mends, calibration is the loss that its power costs."""
    said, labels = _probs(4000, power=2.5)
    true, _ = _probs(4000)
    found = score_head(KIND, said, labels, recalibrate=recalibrated, **FEW)
    best = -np.log(true[np.arange(4000), labels]).mean()
    assert found.refinement_loss == pytest.approx(best, abs=0.01)
    assert found.calibration_loss + found.refinement_loss == pytest.approx(found.log_loss)
    assert found.calibration_loss > 0.1
    calibrated = score_head(KIND, true, labels, recalibrate=recalibrated, **FEW)
    assert calibrated.calibration_loss == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("head", [GRADE, LOOK])
def test_every_kind_of_head_is_split(head):
    probs, labels = _attributes(800) if head is LOOK else _probs(800)
    found = score_head(head, probs, labels, recalibrate=recalibrated, **FEW)
    assert found.calibration_loss == pytest.approx(0, abs=0.03)


def test_copies_of_photos_change_nothing():
    probs, labels = _probs(150, power=2.0)
    rows = np.repeat(np.arange(150), np.random.default_rng(0).integers(1, 6, 150))
    once = score_head(KIND, probs, labels, **FEW)
    copies = score_head(KIND, probs[rows], labels[rows], rows, **FEW)
    assert (copies.photos, copies.groups) == (len(rows), 150)
    for name in ("log_loss", "brier", "accuracy", "mean_confidence"):
        assert getattr(copies, name) == pytest.approx(getattr(once, name))
    for name in ("smooth_ece", "ece", "classwise_ece"):
        ours, theirs = getattr(copies, name), getattr(once, name)
        assert ours.value == pytest.approx(theirs.value, abs=1e-9)
        assert ours.perfect_mean == pytest.approx(theirs.perfect_mean, abs=1e-9)
        assert ours.perfect_interval == pytest.approx(theirs.perfect_interval, abs=1e-9)


def test_bins_are_fewer_where_photos_are_few():
    for photos, bins in ((10, 1), (75, 5), (225, 15), (2000, 15)):
        assert len(score_head(KIND, *_probs(photos), **FEW).reliability) == bins


@pytest.mark.parametrize("head", [KIND, GRADE, LOOK])
def test_without_labels_there_are_no_scores(head):
    none = np.full((5, 3), np.nan) if head is LOOK else np.full(5, MISSING)
    probs = np.full((5, len(head.classes)), 0.25)
    found = score_head(head, probs, none, recalibrate=recalibrated)
    assert (found.photos, found.groups) == (0, 0)
    values = found.model_dump(exclude={"kind", "photos", "groups", "unanswered", "level"})
    assert all(value is None or value == [] for value in values.values())


def test_photos_without_an_answer_are_counted():
    probs, labels = _probs(50)
    predicted = probs.argmax(axis=1)
    predicted[:7] = MISSING
    found = score_head(KIND, probs, labels, predicted=predicted, **FEW)
    assert (found.photos, found.unanswered) == (50, 7)
    assert sum(one.answers for one in found.reliability) == 43


def test_scores_before_and_after_are_those_of_the_two_decisions():
    said, labels = _probs(power=3.0)
    kind = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": list("abcd")}]})
    rule = DecisionRule(calibrators={"kind": Temperature(temperature=3.0)})
    before, after = (
        score_calibration(Decision(kind, r), {"kind": said}, {"kind": labels}, **FEW)["kind"]
        for r in (DecisionRule(), rule)
    )
    assert after.accuracy == before.accuracy
    assert after.log_loss < before.log_loss
    assert before.smooth_ece.is_above_chance
    assert not after.smooth_ece.is_above_chance


def test_scores_survive_json():
    found = score_head(KIND, *_probs(), recalibrate=recalibrated, **FEW)
    text = found.model_dump_json()
    assert CalibrationScores.model_validate_json(text) == found
    assert "NaN" not in json.dumps(json.loads(text))
