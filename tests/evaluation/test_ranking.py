import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cannabis_ml.evaluation.groups import Bootstrap, group_samples
from cannabis_ml.evaluation.ranking import (
    accuracy_at,
    augrc,
    aurc,
    auroc,
    best_p_norm,
    risk_coverage,
    score_ranking,
)
from cannabis_ml.inference.confidence import max_probability, p_norm

# Few distinct confidences, so that ties are common.
ANSWERS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40).map(
    lambda rows: (np.array([c for c, _ in rows]) / 7, np.array([r for _, r in rows]))
)


def test_curve_by_hand():
    curve = risk_coverage(np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, False, True, False]))
    assert curve.threshold.tolist() == [0.9, 0.7, 0.5]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 3, 1 / 2])
    assert curve.generalized_risk == pytest.approx([0, 1 / 4, 1 / 2])


def test_areas_by_hand():
    confidence, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    # Risks at 1, 2, 3 and 4 accepted answers: 0, 1/2, 1/3, 1/2.
    assert aurc(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # Trapezoids under 0, 0, 1/4, 1/4, 1/2.
    assert augrc(confidence, right) == pytest.approx((0 + 1 / 8 + 1 / 4 + 3 / 8) / 4)
    assert auroc(confidence, right) == pytest.approx(3 / 4)


@given(ANSWERS)
def test_augrc_follows_from_accuracy_and_auroc(answers):
    """As in Traub et al. 2024; the AUROC is scikit-learn's."""
    confidence, right = answers
    accuracy = right.mean()
    area = roc_auc_score(right, confidence) if 0 < accuracy < 1 else 0.5
    expected = (1 - area) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert augrc(confidence, right) == pytest.approx(expected, abs=1e-12)


@given(ANSWERS)
def test_auroc_is_scikit_learns(answers):
    confidence, right = answers
    found = auroc(confidence, right)
    if right.all() or not right.any():
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(right, confidence), abs=1e-12)


def test_aurc_of_ties_is_the_mean_over_all_orders():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.2])
    right = np.array([True, True, False, False, True])
    orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
    risks = [np.cumsum(~right[order]) / np.arange(1, 6) for order in orders]
    assert aurc(confidence, right) == pytest.approx(np.mean(risks))
    assert accuracy_at(confidence, right, 0.6) == pytest.approx(1 - np.mean([r[2] for r in risks]))


@given(ANSWERS, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(answers, random):
    confidence, right = answers
    order = list(range(len(right)))
    random.shuffle(order)
    for area in (aurc, augrc, lambda c, r: accuracy_at(c, r, 0.6)):
        found = area(confidence[order], right[order])
        assert found == pytest.approx(area(confidence, right), abs=1e-12)


@given(ANSWERS)
def test_only_the_order_of_confidences_matters(answers):
    confidence, right = answers
    for area in (aurc, augrc):
        assert area(np.exp(3 * confidence) - 5, right) == pytest.approx(area(confidence, right))


@pytest.mark.parametrize(("coverage", "accuracy"), [(0.6, 1.0), (0.8, 0.75), (1.0, 0.8)])
def test_accuracy_at_a_coverage(coverage, accuracy):
    right = np.array([True, True, True, False, True])
    assert accuracy_at(np.arange(5, 0, -1), right, coverage) == pytest.approx(accuracy)


def test_nothing_to_rank_is_an_error():
    with pytest.raises(ValueError, match="no answer"):
        aurc(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match="1 of 2 confidences are NaN"):
        augrc(np.array([0.1, np.nan]), np.array([True, False]))


def test_the_score_that_knows_more_is_best():
    random = np.random.default_rng(0)
    sure = random.random(400)
    right = random.random(400) < sure
    scores = {"noise": random.random(400), "sure": sure, "same": sure**2}
    found = score_ranking(scores, right, np.arange(400), bootstrap=Bootstrap(200))
    assert found["best"] == "sure"
    assert found["scores"]["noise"]["augrc_above_best_interval"][0] > 0
    assert found["scores"]["same"]["augrc_above_best_interval"] == pytest.approx([0, 0])
    low, high = found["scores"]["sure"]["augrc_interval"]
    assert low < found["scores"]["sure"]["augrc"] < high
    assert found["scores"]["sure"]["accuracy_at"]["1"] == pytest.approx(found["accuracy"])


def test_photos_of_one_group_make_intervals_wider():
    random = np.random.default_rng(1)
    sure = random.random(60)
    right = random.random(60) < sure
    width = {}
    for copies in (1, 6):
        c, r = np.repeat(sure, 6), np.repeat(right, 6)
        groups = np.arange(360) // 6 if copies == 6 else np.arange(360)
        low, high = score_ranking({"s": c}, r, groups, bootstrap=Bootstrap(300))["scores"]["s"][
            "augrc_interval"
        ]
        width[copies] = high - low
    assert width[6] > 1.8 * width[1]  # sqrt(6) = 2.4 by theory


def test_samples_hold_whole_groups():
    groups = np.array(["a", "b", "a", "c"])
    for rows in group_samples(groups, 20, seed=0):
        counts = np.bincount(rows, minlength=4)
        assert counts[0] == counts[2]
        assert counts[0] + counts[1] + counts[3] == 3
    first, second = group_samples(groups, 2, seed=0)
    again = group_samples(groups, 2, seed=0)
    assert [rows.tolist() for rows in again] == [first.tolist(), second.tolist()]


def test_p_norm_ranks_better_where_the_scale_of_logits_is_random():
    random = np.random.default_rng(0)
    n, classes = 4000, 20
    strength = random.exponential(1.0, n)
    logits = random.normal(size=(n, classes)) * strength[:, None]
    truth_pull = 3 * random.random(n)
    logits[:, 0] += truth_pull
    right = logits.argmax(axis=1) == 0
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = scaled / scaled.sum(axis=1, keepdims=True)
    order = best_p_norm(probs, right)
    assert augrc(p_norm(probs, order), right) < augrc(max_probability(probs), right)
