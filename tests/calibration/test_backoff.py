import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.calibration.backoff import fit_backoff
from cannabis_ml.inference.backoff import UNSURE, BackOff

HEADS = ["crop", "state"]


def drawn(random, groups, copies=1):
    """Answers that are right as often as their confidence says, a child's more seldom."""
    parent = random.beta(8, 2, groups)
    child = parent * random.beta(4, 3, groups)
    toss = random.random(groups)
    confidence = np.stack([parent, child], axis=1)
    right = toss[:, None] < confidence
    which = np.repeat(np.arange(groups), copies)
    return confidence[which], right[which], which


def risk_of(rule, confidence, right):
    depth = rule.depth(confidence)
    chain = np.logical_and.accumulate(right, axis=1)
    return np.mean((depth != UNSURE) & ~chain[np.arange(len(depth)), depth])


def test_by_hand():
    confidence = np.array([[0.9, 0.8], [0.9, 0.3], [0.95, np.nan]] * 10)
    right = np.array([[True, True], [True, False], [True, False]] * 10)
    found = fit_backoff(HEADS, confidence, right, np.arange(30), alpha=0.1)
    # From 0.8 on only right answers are left: (30 * 0 + 1) / 31 <= 0.1; with 0.3, 11 / 31.
    assert found.rule.threshold == 0.8
    assert found.risk == 0
    assert found.risk_without == pytest.approx(1 / 3)
    assert found.answered == pytest.approx({"crop": 2 / 3, "state": 1 / 3, "": 0})
    assert found.rule.depth(confidence[:3]).tolist() == [1, 0, 0]
    assert found.rule.depth(np.array([[0.7, 0.6]])).tolist() == [UNSURE]


def test_a_right_child_below_a_wrong_parent_is_on_a_wrong_branch():
    confidence, right = np.full((40, 2), 0.9), np.array([[False, True]] * 40)
    found = fit_backoff(HEADS, confidence, right, np.arange(40))
    assert found.rule.threshold is None
    assert "wrong too often" in found.because


@pytest.mark.parametrize("copies", [1, 4])
def test_risk_is_kept_on_average(copies):
    """200 repetitions of 150 groups: the mean risk of new photos is 5% or a little less."""
    random = np.random.default_rng(copies)
    new = drawn(random, 20_000)[:2]
    risks = [
        risk_of(fit_backoff(HEADS, *drawn(random, 150, copies)).rule, *new) for _ in range(200)
    ]
    spread = np.std(risks) / np.sqrt(200)
    assert np.mean(risks) <= 0.05 + 3 * spread
    assert np.mean(risks) >= 0.05 - 2 / 151 - 3 * spread


def test_too_few_photos_answer_nothing():
    confidence, right = np.full((10, 2), 0.99), np.ones((10, 2), bool)
    found = fit_backoff(HEADS, confidence, right, np.arange(10))
    assert found.rule.depth(confidence).tolist() == [UNSURE] * 10
    assert "with 10 groups of photos: 19 would do" in found.because
    enough = fit_backoff(HEADS, np.full((19, 2), 0.99), np.ones((19, 2), bool), np.arange(19))
    assert enough.rule.threshold == 0.99


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 100))
def test_a_higher_threshold_never_answers_deeper(first, second, seed):
    confidence = np.random.default_rng(seed).random((20, 3))
    low, high = (
        BackOff(heads=["a", "b", "c"], threshold=t, alpha=0.1, groups=9).depth(confidence)
        for t in sorted([first, second])
    )
    assert (high <= low).all()


def test_it_travels_as_json():
    rule = fit_backoff(HEADS, *drawn(np.random.default_rng(0), 100)).rule
    assert BackOff.model_validate_json(rule.model_dump_json()) == rule


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="not photos × 2"):
        fit_backoff(HEADS, np.ones((3, 1)), np.ones((3, 1), bool), np.arange(3))
    with pytest.raises(ValueError, match="no photo"):
        fit_backoff(HEADS, np.ones((0, 2)), np.ones((0, 2), bool), np.arange(0))
