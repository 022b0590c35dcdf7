import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from cannabis_ml.models.intervals import f1_interval, wilson

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
TRIPLES = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
CONFIDENCES = st.floats(0.5, 0.999)


def test_wilson_by_hand():
    # z = 1.96: centre (8 + 1.92) / 13.84, half 1.96 / 13.84 * sqrt(8 * 2 / 10 + 0.96)
    low, high = wilson(8, 10)
    half = 1.96 / 13.8416 * math.sqrt(1.6 + 0.9604)
    assert low == pytest.approx((8 + 1.9208) / 13.8416 - half, abs=1e-4)
    assert high == pytest.approx((8 + 1.9208) / 13.8416 + half, abs=1e-4)


@given(COUNTS, CONFIDENCES)
def test_wilson_is_scipys(counts, confidence):
    hits, n = counts
    theirs = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert wilson(hits, n, confidence) == pytest.approx([theirs.low, theirs.high], abs=1e-9)


@given(COUNTS, CONFIDENCES)
def test_wilson_holds_the_share_and_stays_a_share(counts, confidence):
    hits, n = counts
    low, high = wilson(hits, n, confidence)
    assert 0 <= low <= hits / n <= high <= 1
    assert low < high


@given(COUNTS)
def test_wilson_of_misses_mirrors_that_of_hits(counts):
    hits, n = counts
    low, high = wilson(hits, n)
    assert wilson(n - hits, n) == pytest.approx([1 - high, 1 - low])


@given(COUNTS, st.integers(2, 20))
def test_more_photos_of_the_same_share_say_more(counts, times):
    hits, n = counts
    few, many = wilson(hits, n), wilson(hits * times, n * times)
    assert many[1] - many[0] < few[1] - few[0]


@given(COUNTS)
def test_to_be_surer_takes_a_wider_interval(counts):
    low, high = wilson(*counts, 0.9)
    lower, higher = wilson(*counts, 0.99)
    assert lower <= low
    assert higher >= high


def test_of_no_photo_nothing_can_be_said():
    assert wilson(0, 0) is None
    assert f1_interval(0, 0, 0) is None


@given(TRIPLES, CONFIDENCES)
def test_f1_interval_holds_the_f1(counts, confidence):
    hits, in_vain, missed = counts
    if not any(counts):
        return
    low, high = f1_interval(hits, in_vain, missed, confidence)
    f1 = 2 * hits / (2 * hits + in_vain + missed)
    assert 0 <= low <= f1 + 1e-12
    assert f1 - 1e-12 <= high <= 1


@given(TRIPLES)
def test_f1_interval_does_not_tell_misses_from_claims_in_vain(counts):
    hits, in_vain, missed = counts
    assert f1_interval(hits, in_vain, missed) == f1_interval(hits, missed, in_vain)


def test_f1_interval_by_hand():
    # 6 of the 10 photos that have it or were said to: F* = 0.6, F1 = 1.2 / 1.6
    low, high = binomtest(6, 10).proportion_ci(method="wilson")
    assert f1_interval(6, 1, 3) == pytest.approx([2 * low / (1 + low), 2 * high / (1 + high)])


@pytest.mark.parametrize(("prevalence", "recall", "alarm"), [(0.3, 0.8, 0.1), (0.1, 0.6, 0.02)])
def test_intervals_cover_as_often_as_they_promise(prevalence, recall, alarm):
    """4,000 test splits of 150 photos; 95% promised, a binomial's own jumps allowed for."""
    random = np.random.default_rng(0)
    shares = [prevalence * recall, (1 - prevalence) * alarm, prevalence * (1 - recall)]
    draws = random.multinomial(150, [*shares, 1 - sum(shares)], 4000)
    f1 = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    ends = np.array([f1_interval(*map(int, draw[:3])) for draw in draws])
    assert np.mean((ends[:, 0] <= f1) & (f1 <= ends[:, 1])) == pytest.approx(0.95, abs=0.015)
    ends = np.array([wilson(int(d[0]), int(d[0] + d[2])) or [0, 1] for d in draws])
    assert np.mean((ends[:, 0] <= recall) & (recall <= ends[:, 1])) == pytest.approx(0.95, abs=0.02)


def test_f1_is_scikit_learns():
    truth, said = [1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 0, 1]
    low, high = f1_interval(3, 1, 1)
    assert low < f1_score(truth, said) < high
