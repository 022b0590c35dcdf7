import numpy as np
import pytest

from cannabis_ml.evaluation.comparison.answers import ModelAnswers
from cannabis_ml.evaluation.comparison.risk import compare_risk
from cannabis_ml.evaluation.comparison.unlabeled import compare_unlabeled
from cannabis_ml.taxonomy import Taxonomy

OLD = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["leaf", "bud"]}]})
NEW = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["bud", "hash", "leaf"]}]})


def model(taxonomy, decided, sure):
    probs = np.full((len(decided), len(taxonomy["kind"].classes)), 0.01)
    probs[np.arange(len(decided)), decided] = sure
    return ModelAnswers(taxonomy, {"kind": np.array(decided)}, {"kind": probs})


def test_agreement_leaves_out_what_only_one_can_answer():
    champion = model(OLD, [0, 0, 1, 1], 0.8)
    challenger = model(NEW, [2, 0, 0, 1], 0.9)  # leaf, bud, bud, hash
    found = compare_unlabeled(champion, challenger, list("abcd"))
    head = found.heads["kind"]
    assert (head.answers, head.to_new_classes) == (3, 1)
    assert head.agreement == pytest.approx(2 / 3)
    assert head.changes == pytest.approx((0.1, 0.1, 0.1))
    assert found.flipped == 2
    assert {(f.photo, f.champion, f.challenger) for f in found.flips} == {
        ("b", "leaf", "bud"),
        ("d", "bud", "hash"),
    }


def test_flips_of_which_both_are_sure_come_first():
    champion = model(OLD, [0, 0, 0], [0.6, 0.9, 0.95])
    challenger = model(OLD, [1, 1, 1], [0.99, 0.9, 0.7])
    found = compare_unlabeled(champion, challenger, list("abc"), most=2)
    assert [flip.photo for flip in found.flips] == ["b", "c"]
    assert found.flipped == 3


def test_without_photos_there_is_nothing_to_compare():
    none = model(OLD, np.zeros(0, int), 0.9)
    assert compare_unlabeled(none, none, []).heads == {}


def test_error_rates_are_of_accepted_answers_and_a_burst_counts_once():
    groups = np.array([0, 0, 1, 2, 3])
    yes = np.array([1, 1, 1, 1, 0], bool)
    right = np.array([1, 0, 1, 0, 0], bool)
    found = compare_risk((yes, right), (yes, np.ones(5, bool)), groups)
    assert found.champion == pytest.approx(1.5 / 3)
    assert (found.challenger, found.difference) == (0, pytest.approx(-0.5))
    assert found.champion_accepted == 3 / 4
    assert found.interval[0] <= found.difference <= found.interval[1]


def test_a_model_that_accepts_nothing_has_no_error_rate():
    right, none = np.ones(4, bool), np.zeros(4, bool)
    found = compare_risk((none, right), (right, right), np.arange(4))
    assert (found.champion, found.difference) == (None, None)
