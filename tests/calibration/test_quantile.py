import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from cannabis_ml.calibration.quantile import (
    conformal_quantile,
    fewest_groups,
    one_per_group,
)
from cannabis_ml.evaluation.groups import group_weights


def test_without_groups_it_is_the_usual_rank():
    scores = np.array([5.0, 1, 4, 2, 3, 9, 8, 7, 6])
    assert conformal_quantile(scores, np.arange(9), 0.2).value == 8  # ceil(0.8 * 10)
    assert conformal_quantile(scores, np.arange(9), 0.1).value == 9
    assert conformal_quantile(scores, np.arange(9), 0.09).value == math.inf


@given(st.integers(1, 300), st.sampled_from([0.01, 0.05, 0.1, 0.2, 1 / 3]))
def test_rank_of_any_number_of_photos(n, alpha):
    found = conformal_quantile(np.arange(1, n + 1), np.arange(n), alpha)
    rank = math.ceil((1 - alpha) * (n + 1) - 1e-9)
    assert found.value == (rank if rank <= n else math.inf)
    assert (found.value == math.inf) == (n < fewest_groups(alpha))
    assert (found.groups, found.photos) == (n, n)


def test_copies_change_nothing():
    scores = np.random.default_rng(0).random(40)
    copied = conformal_quantile(np.repeat(scores, 7), np.arange(280) // 7, 0.1)
    assert copied.value == conformal_quantile(scores, np.arange(40), 0.1).value
    assert (copied.groups, copied.photos) == (40, 280)


def test_weights_sum_to_the_groups():
    weights = group_weights(np.array(["a", "b", "a", "c", "a"]))
    assert weights == pytest.approx([1 / 3, 1, 1 / 3, 1, 1 / 3])


def test_of_no_photo_nothing_is_known():
    assert conformal_quantile(np.zeros(0), np.zeros(0), 0.1).value == math.inf


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        conformal_quantile(np.array([0, np.nan]), np.arange(2), 0.1)
    with pytest.raises(ValueError, match="alpha is 1"):
        conformal_quantile(np.zeros(2), np.arange(2), 1)


def test_coverage_is_as_promised_with_near_duplicates():
    """5,000 draws of 30 calibration groups of unequal size, and one new photo each.

    Large groups have higher scores, so that photos by themselves would say too much of them.
    """
    random = np.random.default_rng(0)
    alpha, covered, pooled = 0.2, 0, 0
    for _ in range(5000):
        sizes = random.choice([1, 2, 12], 31)
        level = random.normal(size=31) - 2.0 * (sizes == 12)
        groups = np.repeat(np.arange(31), sizes)
        scores = level[groups] + 0.1 * random.normal(size=len(groups))
        known = groups < 30
        new = scores[random.choice(np.flatnonzero(~known))]
        covered += new <= conformal_quantile(scores[known], groups[known], alpha).value
        pooled += new <= np.quantile(scores[known], 1 - alpha)
    least, most = binom.ppf([0.001, 0.999], 5000, 1 - alpha)
    assert least <= covered <= most + 5000 / 31  # at most 1 / (groups + 1) above
    assert pooled < least


@given(st.lists(st.integers(0, 8), min_size=1, max_size=50), st.integers(0, 5))
def test_one_photo_of_each_group(groups, seed):
    rows = one_per_group(np.array(groups), seed)
    assert sorted(np.array(groups)[rows]) == sorted(set(groups))
    assert rows.tolist() == one_per_group(np.array(groups), seed).tolist()


def test_each_photo_of_a_group_is_drawn_sometimes():
    drawn = {int(one_per_group(np.zeros(4), seed)[0]) for seed in range(50)}
    assert drawn == {0, 1, 2, 3}
