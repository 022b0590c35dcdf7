import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from cannabis_ml.evaluation.comparison.paired import (
    PairedParams,
    bootstrap_means,
    groups_needed,
    holm,
    mcnemar_worse,
    paired_difference,
    tango_interval,
)


def scores(right, wrong):
    return np.array([1.0] * right + [0.0] * wrong)


def test_difference_is_that_of_shares_right_and_counts_who_won():
    champion = np.array([1, 1, 1, 0, 0, 1, 0, 1.0])
    challenger = np.array([1, 0, 1, 1, 1, 1, 0, 1.0])
    found = paired_difference(champion, challenger, np.arange(8))
    assert (found.champion, found.challenger) == (5 / 8, 6 / 8)
    assert found.difference == pytest.approx(1 / 8)
    assert (found.won, found.lost, found.groups, found.photos) == (2, 1, 8, 8)


def test_a_burst_counts_as_one_photo():
    champion = np.array([1, 1, 1, 1, 0.0])
    challenger = np.array([0, 0, 0, 0, 1.0])
    found = paired_difference(champion, challenger, np.array([0, 0, 0, 0, 1]))
    assert (found.groups, found.won, found.lost, found.difference) == (2, 1, 1, 0)


def test_photos_without_a_label_count_for_neither():
    champion, challenger = np.array([1, np.nan, 0.0]), np.array([1, 0.0, np.nan])
    assert paired_difference(champion, challenger, np.arange(3)).photos == 1
    assert paired_difference(champion[1:], challenger[1:], np.arange(2)) is None


def test_mcnemar_is_the_binomial_test_of_pairs_that_differ():
    for lost, won in ((7, 2), (0, 4), (3, 3), (12, 5)):
        expected = binomtest(lost, lost + won, 0.5, "greater").pvalue
        assert mcnemar_worse(lost, won) == pytest.approx(expected)
    assert mcnemar_worse(0, 0) == 1


def score_statistic(difference, lost, won, n):
    """From its definition: the restricted likelihood is maximized by search."""
    p_of = lambda share: share + difference  # noqa: E731
    least, most = max(0, -difference), (1 - difference) / 2

    def minus_log_likelihood(share):
        cells = [(won, p_of(share)), (lost, share), (n - won - lost, 1 - share - p_of(share))]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    bounds = (least + 1e-12, most - 1e-12)
    share = minimize_scalar(
        minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    variance = n * (2 * share + difference - difference**2)
    return (won - lost - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("lost", "won", "n"), [(3, 1, 44), (10, 25, 200), (1, 0, 20)])
def test_tangos_ends_are_where_the_score_is_the_quantile(lost, won, n):
    low, high = tango_interval(lost, won, n, 0.95)
    assert score_statistic(low, lost, won, n) == pytest.approx(1.95996, abs=2e-3)
    assert score_statistic(high, lost, won, n) == pytest.approx(-1.95996, abs=2e-3)


def test_tango_has_a_width_where_no_pair_differs():
    """In closed form: z² / (n + z²)."""
    low, high = tango_interval(0, 0, 74, 0.9)
    z2 = 1.6448536**2
    assert (-low, high) == pytest.approx((z2 / (74 + z2),) * 2, rel=1e-3)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))
def test_tango_mirrors_and_holds_the_estimate(lost, won, others):
    n = lost + won + others
    low, high = tango_interval(lost, won, n)
    assert -1 <= low <= (won - lost) / n <= high <= 1
    assert tango_interval(won, lost, n) == pytest.approx((-high, -low), abs=1e-6)


def test_bootstrap_of_equal_values_together_is_the_bootstrap_of_all():
    values = np.array([-1.0] * 5 + [0.0] * 80 + [1.0] * 15)
    found = bootstrap_means(values, 20_000, 0)
    assert found.mean() == pytest.approx(0.1, abs=0.002)
    assert found.std() == pytest.approx(values.std() / 10, rel=0.02)


def test_one_sided_bound_is_below_the_truth_as_seldom_as_promised():
    random = np.random.default_rng(0)
    params = PairedParams(draws=400)
    below = []
    for _ in range(300):
        cells = random.choice(4, 120, p=[0.7, 0.08, 0.08, 0.14])
        champion, challenger = np.isin(cells, [0, 1]), np.isin(cells, [0, 2])
        found = paired_difference(champion, challenger, np.arange(120), params)
        below.append(found.lower <= 0)
    assert np.mean(below) >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 300)


def test_without_a_pair_that_differs_few_photos_show_nothing_and_many_do():
    few = paired_difference(scores(40, 10), scores(40, 10), np.arange(50))
    many = paired_difference(scores(400, 100), scores(400, 100), np.arange(500))
    assert not few.not_inferior(0.02)
    assert many.not_inferior(0.02)


def test_so_many_groups_as_are_needed_would_do():
    random = np.random.default_rng(3)
    champion, challenger = random.random((2, 100)) < 0.8
    found = paired_difference(champion, challenger, np.arange(100))
    if found.difference < 0:
        champion, challenger = challenger, champion
        found = paired_difference(champion, challenger, np.arange(100))
    assert not found.not_inferior(0.02)
    times = math.ceil(groups_needed(found, 0.02, 0.95) / 100)
    more = [np.tile(side, times) for side in (champion, challenger)]
    assert paired_difference(*more, np.arange(100 * times)).lower >= -0.02 - 0.004


def test_what_is_beyond_the_margin_needs_no_photos_but_another_model():
    found = paired_difference(scores(90, 10), scores(80, 20), np.arange(100))
    assert groups_needed(found, 0.02, 0.95) is None


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).shape == (0,)
