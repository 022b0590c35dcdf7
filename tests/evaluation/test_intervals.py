import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import f1_score

from cannabis_ml.evaluation.intervals import (
    by_groups,
    difference,
    effective_photos,
    exact,
    f1_by_groups,
    wilson,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
TRIPLES = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
CONFIDENCES = st.floats(0.5, 0.999)


def f1_interval(hits, in_vain, missed, confidence=0.95):
    """Of photos that are a group each."""
    involved = np.ones(hits + in_vain + missed, bool)
    alone = np.arange(len(involved))
    return f1_by_groups(alone < hits, involved, alone, confidence)


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
def test_more_photos_of_the_same_share_narrow_the_interval(counts, times):
    hits, n = counts
    few, many = wilson(hits, n), wilson(hits * times, n * times)
    assert many[1] - many[0] < few[1] - few[0]


@given(COUNTS)
def test_to_be_surer_takes_a_wider_interval(counts):
    low, high = wilson(*counts, 0.9)
    lower, higher = wilson(*counts, 0.99)
    assert lower <= low
    assert higher >= high


def test_of_no_photo_nothing_is_known():
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
def test_f1_interval_counts_false_negatives_and_false_positives_alike(counts):
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


def bursts(random, groups, size, share, alike):
    """Hits of photos in groups, each with a share of its own around `share`; 0 < alike < 1 is how
    much two photos of a group hang together (their correlation)."""
    strength = 1 / alike - 1
    own = random.beta(share * strength, (1 - share) * strength, groups)
    sizes = np.full(groups, size) if isinstance(size, int) else random.permutation(size)
    which = np.repeat(np.arange(groups), sizes)
    return random.random(len(which)) < own[which], which


# (groups, photos of each, true share, correlation within a group)
CLUSTERED = {
    "8 groups of 10": (8, 10, 0.8, 0.4),
    "8 groups, often right": (8, 10, 0.95, 0.4),
    "20 groups": (20, 5, 0.7, 0.3),
    "one large burst": (12, [44, *[4] * 11], 0.8, 0.5),
    "photos as one": (8, 10, 0.8, 0.98),
}


@pytest.mark.parametrize("case", CLUSTERED.values(), ids=CLUSTERED)
def test_intervals_by_groups_cover_where_those_by_photos_do_not(case):
    """200 test splits; of 200 intervals that hold the truth 95 times in 100, 182 to 197 do so in
    99 of 100 cases."""
    groups, size, share, alike = case
    random = np.random.default_rng(0)
    naive = grouped = 0
    for _ in range(200):
        hits, which = bursts(random, groups, size, share, alike)
        low, high = wilson(int(hits.sum()), len(hits))
        naive += low <= share <= high
        low, high = by_groups(hits, which)
        grouped += low <= share <= high
    least = binom.ppf(0.005, 200, 0.95)
    assert naive < least
    assert grouped >= least


def test_photos_that_are_independent_cost_little():
    """Groups that mean nothing: the interval is wider than need be, but not as one per group."""
    random = np.random.default_rng(0)
    which = np.repeat(np.arange(40), 5)
    worth = [effective_photos(random.random(200) < 0.8, which) for _ in range(200)]
    assert np.median(worth) > 120


@given(COUNTS, CONFIDENCES)
def test_where_each_photo_is_a_group_it_is_wilson(counts, confidence):
    hits, n = counts
    alone = np.arange(n)
    found = by_groups(alone < hits, alone, confidence)
    assert found == pytest.approx(wilson(hits, n, confidence), abs=1e-12)


def test_photos_of_a_group_that_are_all_alike_count_as_one():
    """40 groups of 5 that are right or wrong as a whole know what 40 photos know, by and large."""
    right = np.arange(40) < 30
    hits, which = np.repeat(right, 5), np.repeat(np.arange(40), 5)
    assert effective_photos(hits, which) == pytest.approx(40)
    assert by_groups(hits, which) == pytest.approx(wilson(30, 40))


@pytest.mark.parametrize("hit", [True, False])
def test_without_a_difference_to_learn_from_a_group_counts_as_one(hit):
    hits, which = np.full(84, hit), np.arange(84) % 8
    # Four groups of 11 and four of 10: Kish's 84² / (4 * 121 + 4 * 100).
    assert effective_photos(hits, which) == pytest.approx(84**2 / 884)
    low, high = by_groups(hits, which)
    assert (high == 1.0) if hit else (low == 0.0)


@pytest.mark.parametrize("hits", [0, 3, 7])
def test_a_single_group_counts_as_one_photo(hits):
    assert effective_photos(np.arange(7) < hits, np.zeros(7, int)) == pytest.approx(1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60), CONFIDENCES)
def test_intervals_by_groups_hold_the_share_and_never_know_more(photos, confidence):
    hits, which = (np.array(column) for column in zip(*photos, strict=True))
    low, high = by_groups(hits, which, confidence)
    assert 0 <= low <= hits.mean() + 1e-12
    assert hits.mean() - 1e-12 <= high <= 1
    naive = wilson(int(hits.sum()), len(hits), confidence)
    assert high - low >= naive[1] - naive[0] - 1e-12


@given(st.permutations(range(12)))
def test_neither_order_nor_names_of_groups_matter(order):
    hits, which = np.arange(12) % 3 > 0, np.array(list("aaabbbbccccd"))
    shuffled = list(order)
    assert by_groups(hits[shuffled], which[shuffled]) == pytest.approx(by_groups(hits, which))


def test_of_no_photo_in_no_group_nothing_is_known():
    nothing = np.zeros(0, bool)
    assert by_groups(nothing, nothing) is None
    assert f1_by_groups(nothing, nothing, nothing) is None


@given(COUNTS, CONFIDENCES)
def test_the_exact_interval_is_that_of_scipy(counts, confidence):
    theirs = binomtest(*counts).proportion_ci(confidence, method="exact")
    assert exact(*counts, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_exact_interval_takes_effective_numbers():
    assert exact(0, 0) is None
    between = exact(7.5, 10.0)
    assert exact(7, 10)[0] < between[0] < exact(8, 10)[0]


def test_the_difference_is_that_of_newcombes_table():
    """Newcombe 1998 (Stat. Med. 17:873), table II, method 10: 56/70 - 48/80."""
    first, second = wilson(56, 70), wilson(48, 80)
    assert difference(0.8, first, 0.6, second) == pytest.approx((0.0524, 0.3339), abs=5e-5)
