import numpy as np
import pytest

from cannabis_ml.evaluation.comparison.answers import ModelAnswers
from cannabis_ml.evaluation.comparison.models import compare_models
from cannabis_ml.inference.decision import Decision
from cannabis_ml.taxonomy import MISSING, Taxonomy


def taxonomy(*kinds, looks=("dry", "wet")):
    heads = [{"name": "kind", "classes": list(kinds)}]
    if looks:
        heads.append({"name": "look", "kind": "multilabel", "classes": list(looks)})
    return Taxonomy.model_validate({"heads": heads})


def answers(found, classes, looks=None):
    """Of a model that is 80% sure of these classes."""
    kinds = np.full((len(classes), len(found["kind"].classes)), 0.2)
    kinds[np.arange(len(classes)), classes] = 0.8 + 0.2 * kinds.shape[1]
    outputs = {"kind": kinds / kinds.sum(axis=1, keepdims=True)}
    if looks is not None:
        outputs["look"] = np.where(looks, 0.9, 0.1)
    return ModelAnswers.of(Decision(found), outputs)


SMALL = taxonomy("leaf", "bud", looks=())
GROWN = taxonomy("hash", "leaf", "bud", looks=())


def test_classes_are_matched_by_name_whatever_their_order():
    truth = {"kind": np.array([1, 1, 2, 2])}
    champion, challenger = answers(SMALL, [0, 1, 1, 1]), answers(GROWN, [1, 1, 2, 1])
    found = compare_models(champion, challenger, truth, np.arange(4)).heads["kind"]
    assert found.difference.champion == found.difference.challenger == 3 / 4
    assert found.classes["leaf"].difference == pytest.approx(1 / 2)
    assert found.classes["bud"].difference == pytest.approx(-1 / 2)


def test_a_new_class_does_not_make_up_for_an_old_one():
    truth = {"kind": np.array([0, 0, 0, 1, 2])}
    champion, challenger = answers(SMALL, [0, 1, 0, 0, 1]), answers(GROWN, [0, 0, 0, 0, 2])
    found = compare_models(champion, challenger, truth, np.arange(5))
    assert found.overall.photos == 2
    assert found.overall.difference == pytest.approx(-1 / 2)
    assert found.heads["kind"].new_classes["hash"].recall == 1
    assert found.heads["kind"].new_classes["hash"].photos == 3


def test_a_class_that_is_gone_is_named():
    champion, challenger = answers(GROWN, [0, 1]), answers(SMALL, [0, 1])
    truth = {"kind": np.array([0, 1])}
    found = compare_models(champion, challenger, truth, np.arange(2))
    assert found.heads["kind"].missing_classes == ["hash"]


def test_a_head_that_one_side_lacks_is_named_and_not_compared():
    both = taxonomy("leaf", "bud")
    truth = {"kind": np.array([0, 1]), "look": np.array([[1.0, 0.0], [0.0, 1.0]])}
    champion = answers(SMALL, [0, 1])
    challenger = answers(both, [0, 1], truth["look"] == 1)
    assert compare_models(champion, challenger, truth, np.arange(2)).new_heads == ["look"]
    found = compare_models(challenger, champion, truth, np.arange(2))
    assert (found.missing_heads, list(found.heads)) == (["look"], ["kind"])


def test_attributes_are_compared_where_they_are_there_and_where_they_are_absent():
    both = taxonomy("leaf", "bud")
    look = np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 1.0], [0.0, 1.0]])
    truth = {"kind": np.full(4, MISSING), "look": look}
    says = look == 1
    champion = answers(both, [0] * 4, says)
    worse = says.copy()
    worse[:2, 0] = False  # finds dry on none of the photos
    found = compare_models(champion, answers(both, [0] * 4, worse), truth, np.arange(4))
    classes = found.heads["look"].classes
    assert classes["dry"].difference == -1
    assert classes["not dry"].difference == 0
    assert classes["wet"].photos == 2
    assert classes["not wet"].photos == 1
    # 1 of 2 attributes on the first photo, the only known one of the second.
    assert found.overall.difference == pytest.approx(-(1 / 2 + 1) / 4)
    assert found.heads["kind"].difference is None


def test_log_loss_is_compared_on_labels_that_both_know():
    truth = {"kind": np.array([1, 2, 0])}
    champion, challenger = answers(SMALL, [0, 1, 1]), answers(GROWN, [1, 2, 0])
    found = compare_models(champion, challenger, truth, np.arange(3)).heads["kind"]
    sure, less_sure = 1.2 / 1.4, 1.4 / 1.8
    assert found.calibration.log_loss.champion == pytest.approx(-np.log(sure))
    assert found.calibration.log_loss.challenger == pytest.approx(-np.log(less_sure))


def test_a_model_that_is_always_too_sure_is_found_out():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 400)
    said = np.where(random.random(400) < 0.7, truth, 1 - truth)
    boast = ModelAnswers(SMALL, {"kind": said}, {"kind": np.where(np.eye(2)[said], 0.98, 0.02)})
    honest = ModelAnswers(SMALL, {"kind": said}, {"kind": np.where(np.eye(2)[said], 0.7, 0.3)})
    found = compare_models(honest, boast, {"kind": truth}, np.arange(400)).heads["kind"]
    assert not found.calibration.champion.is_above_chance
    assert found.calibration.challenger.is_above_chance
    assert found.calibration.log_loss.interval[0] > 0
