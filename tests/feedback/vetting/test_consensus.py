"""Belief propagation against enumeration, and what one vote can move."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.feedback.vetting.archetypes import one_coin, ordered_probit, with_none
from cannabis_ml.feedback.vetting.consensus import Prior, find_consensus
from cannabis_ml.feedback.vetting.crowd import Votes
from cannabis_ml.feedback.vetting.params import ConsensusParams

FIXED = ConsensusParams(
    method="one_coin", typical_people=1e12, largest_odds=1e12, tolerance=1e-12, iterations=500
)
"""What people are like is not learnt, so that enumeration is short."""


def votes(rows, classes, weight=None):
    task, person, label = np.array(rows).T
    weight = np.ones(len(rows)) if weight is None else np.array(weight)
    return Votes.sort((task, person, label, weight), (task.max() + 1, person.max() + 1, classes))


def enumerated(rows, archetypes, tasks, people):
    """Exact probabilities of each task's class, with shares of classes learnt as by the code."""
    k = archetypes.matrices.shape[1]
    shares = np.full(k, 1 / k)
    for _ in range(200):
        probs = np.zeros((tasks, k))
        for classes in product(range(k), repeat=tasks):
            joint = np.prod(shares[list(classes)])
            for j in range(people):
                told = [archetypes.matrices[:, classes[t], y] for t, p, y in rows if p == j]
                joint *= archetypes.shares @ np.prod(told, axis=0)
            for task, label in enumerate(classes):
                probs[task, label] += joint
        probs /= probs.sum(axis=1, keepdims=True)
        shares = (probs.sum(axis=0) + 1) / (tasks + k)
    return probs


@pytest.mark.parametrize("archetypes", [one_coin(3), ordered_probit(3), with_none(one_coin(2))])
def test_on_a_tree_probabilities_are_exact(archetypes):
    rows = [(0, 0, 2), (0, 1, 1), (1, 1, 1), (1, 2, 0), (2, 1, 0), (2, 3, 0), (3, 3, 2), (3, 4, 2)]
    found = find_consensus(votes(rows, 3), archetypes, Prior.empty(4, 3), FIXED)
    assert found.converged
    assert found.probs == pytest.approx(enumerated(rows, archetypes, 4, 5), abs=1e-6)


def test_who_alone_answers_does_not_shape_what_is_usual():
    """A hundred times the same answer by one person tells nothing of how common that class is."""
    rows = [(task, 0, 2) for task in range(100)]
    found = find_consensus(votes(rows, 3), one_coin(3), Prior.empty(100, 3), ConsensusParams())
    one = find_consensus(votes(rows[:1], 3), one_coin(3), Prior.empty(1, 3), ConsensusParams())
    assert found.probs == pytest.approx(np.tile(one.probs, (100, 1)))
    assert (found.informed == 0).all()


def test_people_become_what_bayes_says():
    """Gold tasks alone: the archetypes' posterior by hand."""
    archetypes = one_coin(2)
    rows = [(t, 0, 0) for t in range(8)]
    prior = Prior.empty(8, 2)
    gold = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    found = find_consensus(
        votes(rows, 2), archetypes, Prior(prior.model, gold, prior.question), FIXED
    )
    a = archetypes.accuracies
    expected = archetypes.shares * a**6 * (1 - a) ** 2
    assert found.types[0] == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_the_calibrated_model_is_one_more_vote():
    """A vote and a model of 0.6: odds of 0.6 to 0.2 times those of the typical person."""
    archetypes = one_coin(3)
    prior = Prior.empty(1, 3)
    model = np.array([[0.2, 0.6, 0.2]])
    params = FIXED.model_copy(update={"method": "majority"})
    found = find_consensus(
        votes([(0, 0, 1)], 3), archetypes, Prior(model, prior.known, prior.question), params
    )
    a = archetypes.shares @ archetypes.accuracies
    alone = find_consensus(votes([(0, 0, 1)], 3), archetypes, prior, params).probs[0]
    assert alone[1] > a * 0.9
    assert found.probs[0, 1] > 0.6
    assert 0.5 < found.model_power < 1
    odds = found.probs[0, 1] / found.probs[0, 0]
    voice = (model**found.model_power).ravel()
    assert odds == pytest.approx(voice[1] / voice[0] * a / ((1 - a) / 2), rel=0.1)


def crowd(seed, tasks=60, people=12, classes=3):
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=tasks)
    rows = []
    for task in range(tasks):
        for person in random.choice(people, 3, replace=False):
            is_right = random.random() < 0.8
            other = (truth[task] + random.integers(1, classes)) % classes
            rows.append((task, person, truth[task] if is_right else other))
    return truth, rows


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(180)))
def test_the_order_of_votes_changes_nothing(order):
    _, rows = crowd(1)
    params = ConsensusParams()
    one = find_consensus(votes(rows, 3), one_coin(3), Prior.empty(60, 3), params)
    other = find_consensus(
        votes([rows[i] for i in order], 3), one_coin(3), Prior.empty(60, 3), params
    )
    assert (one.probs == other.probs).all()


@pytest.mark.parametrize("method", ["majority", "one_coin", "dawid_skene"])
@pytest.mark.parametrize("odds", [2.0, 50.0])
def test_a_vote_changes_the_odds_by_no_more_than_allowed(method, odds):
    _, rows = crowd(2)
    params = ConsensusParams(method=method, largest_odds=odds)
    found = find_consensus(votes(rows, 3), one_coin(3), Prior.empty(60, 3), params)
    ordered = votes(rows, 3)
    moved = np.log(found.probs[ordered.task]) - np.log(found.others)
    assert np.ptp(moved, axis=1).max() <= np.log(odds) + 1e-6


def test_a_vote_of_no_weight_moves_nothing():
    votes_of = votes([(0, 0, 1), (0, 1, 2)], 3, [1.0, 0.0])
    found = find_consensus(votes_of, one_coin(3), Prior.empty(1, 3), FIXED)
    alone = find_consensus(votes([(0, 0, 1)], 3), one_coin(3), Prior.empty(1, 3), FIXED)
    assert found.probs[0, 1] > 0.6
    assert found.probs[0, [0, 2]] == pytest.approx(alone.probs[0, [0, 2]], abs=0.05)
    assert found.probs[0, 0] == pytest.approx(found.probs[0, 2])


def test_a_person_who_confuses_two_classes_is_understood():
    """Dawid-Skene: who always answers 0 for 1 is still believed on 2."""
    random = np.random.default_rng(0)
    truth = random.integers(3, size=300)
    rows = []
    for task, label in enumerate(truth):
        for person in range(4):
            is_right = random.random() < 0.85
            rows.append((task, person, label if is_right else (label + 1) % 3))
        rows.append((task, 4, 0 if label == 1 else label))
    found = find_consensus(votes(rows, 3), one_coin(3), Prior.empty(300, 3), ConsensusParams())
    ordered = votes(rows, 3)
    mine = (ordered.person == 4) & (ordered.label == 2)
    gain = np.log(found.probs[ordered.task, 2]) - np.log(found.others[:, 2])
    zero = (ordered.person == 4) & (ordered.label == 0)
    zero_gain = np.log(found.probs[ordered.task, 0]) - np.log(found.probs[ordered.task, 1])
    zero_gain -= np.log(found.others[:, 0]) - np.log(found.others[:, 1])
    assert np.median(gain[mine]) >= 0
    assert abs(np.median(zero_gain[zero])) < np.log(2)  # 0 from them tells 0 from 1 hardly at all


def test_on_a_scale_a_neighboring_grade_stays_likelier_than_a_far_one():
    found = find_consensus(
        votes([(0, 0, 1)], 5), ordered_probit(5), Prior.empty(1, 5), ConsensusParams()
    )
    probs = found.probs[0]
    assert probs[1] > probs[2] > probs[3] > probs[4]
    assert probs[0] > 3 * probs[4]


def test_archetypes_are_distributions():
    for archetypes in (one_coin(2), one_coin(7), ordered_probit(5), with_none(ordered_probit(5))):
        assert archetypes.matrices.min() >= 0
        assert archetypes.matrices.sum(axis=2) == pytest.approx(1)


def test_a_pair_that_votes_twice_is_refused():
    with pytest.raises(ValueError, match="a pair is there twice"):
        votes([(0, 0, 1), (0, 0, 2)], 3)
