"""Confidence of an ordinal answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.inference.reading import in_words, sureness
from cannabis_ml.taxonomy import Head

GRADE = Head(name="grade", kind="ordinal", classes=["A+", "A", "B", "C", "F"])


def test_the_median_is_reported_by_cumulative_probability():
    probs = np.array([0.44, 0.25, 0.20, 0.06, 0.05])
    assert GRADE.class_names[GRADE.answer(probs)] == "A"
    assert in_words(GRADE, probs, "A") == ["A or better 0.69", "A+ to B 0.89"]
    assert sureness(GRADE, probs, "A") == pytest.approx({"or_better": 0.69, "within_one": 0.89})


@pytest.mark.parametrize(
    ("probs", "words"),
    [
        ([0.6, 0.3, 0.1, 0, 0], ["A+ 0.60", "A+ to A 0.90"]),
        ([0, 0, 0.1, 0.3, 0.6], ["F 0.60", "C to F 0.90"]),
    ],
)
def test_or_better_is_left_out_where_it_is_trivial(probs, words):
    probs = np.array(probs)
    assert in_words(GRADE, probs, GRADE.class_names[GRADE.answer(probs)]) == words


@pytest.mark.parametrize("k", [2, 3])
def test_neighbors_that_are_all_classes_are_left_out(k):
    head = Head(name="age", kind="ordinal", classes=list("abc")[:k])
    told = in_words(head, np.full(k, 1 / k), "b")
    assert told == (["b 0.50"] if k == 2 else ["b or better 0.67"])


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda p: sum(p) > 0.01))
def test_words_about_a_median_never_contradict_it(weights):
    """As likely as not, or more; one step around is no less likely than the class itself."""
    probs = np.array(weights) / sum(weights)
    k = int(GRADE.answer(probs))
    sure = sureness(GRADE, probs, GRADE.class_names[k])
    assert sure["or_better"] >= 0.5 - 1e-9
    assert probs[k] - 1e-9 <= sure["within_one"] <= 1


def test_classes_that_the_parent_does_not_allow_count_no_more():
    head = Head(
        name="grade",
        kind="ordinal",
        classes=["A", "B", "C"],
        parent="type",
        allowed={"flower": ["A", "B", "C"], "trim": ["B", "C"]},
    )
    probs = np.array([0.6, 0.3, 0.1])
    # Trim is B or C: 0.3 to 0.1.
    assert sureness(head, probs, "B", "trim")["or_better"] == pytest.approx(0.75)
    assert sureness(head, probs, "B", "flower")["or_better"] == pytest.approx(0.9)
    assert sureness(head, probs, "B")["or_better"] == pytest.approx(0.9)
