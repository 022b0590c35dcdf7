import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from cannabis_ml.inference.confidence import (
    SCORES,
    confidence_scores,
    entropy,
    margin,
    max_probability,
    p_norm,
)

ROWS = st.lists(st.floats(-30, 30), min_size=2, max_size=8).map(np.array)


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def test_by_hand():
    probs = np.array([[0.7, 0.1, 0.2], [0.25, 0.25, 0.5]])
    assert max_probability(probs) == pytest.approx([0.7, 0.5])
    assert margin(probs) == pytest.approx([0.5, 0.25])
    assert entropy(probs) == pytest.approx([-scipy_entropy(row) for row in probs])


@given(ROWS, st.sampled_from([1, 2, 4, 10]))
def test_p_norm_is_that_of_the_centred_logits(logits, p):
    centered = logits - logits.mean()
    norm = np.linalg.norm(centered, p)
    expected = centered.max() / norm if norm > 1e-6 else 0
    assert norm <= 1e-6 or p_norm(softmax(logits), p) == pytest.approx(expected, abs=1e-6)


def test_p_norm_of_no_preference_is_zero_and_extremes_stay_finite():
    assert p_norm(np.full((1, 4), 0.25)) == pytest.approx([0])
    assert np.isfinite(p_norm(np.array([[1.0, 0.0, 0.0]]), 50)).all()


def test_scores_of_heads(taxonomy):
    probs = np.array([[0.6, 0.3, 0.1]])
    found = confidence_scores(taxonomy["colour"], probs, np.array([0.2]))
    assert tuple(found) == SCORES
    assert found["agreement"] == pytest.approx([-0.2])
    marks = confidence_scores(taxonomy["marks"], np.array([[0.2, 0.5]]))
    assert marks["max_probability"] == pytest.approx(np.array([[0.8, 0.5]]))
    assert marks["margin"] == pytest.approx(np.array([[0.6, 0.0]]))
    assert set(marks) == {"max_probability", "margin", "entropy"}
