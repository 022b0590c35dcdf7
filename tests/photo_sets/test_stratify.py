"""Every part comes as close to its share of every class as groups allow."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from cannabis_ml.photo_sets.stratify import stratify

SHARES = np.array([0.7, 0.1, 0.1, 0.1])


def deal(groups, shares=SHARES, may=None, there=None, rank=None):
    """Parts of groups that are given as photos per class."""
    counts = with_total(groups)
    there = np.zeros((counts.shape[1], len(shares)), int) if there is None else there
    asked = (counts.sum(axis=0) + there.sum(axis=1))[:, None] * shares
    may = np.ones((len(groups), len(shares)), bool) if may is None else may
    rank = np.arange(len(groups)) if rank is None else rank
    return stratify(csr_array(counts), may, there, asked, rank)


def with_total(groups):
    groups = np.array(groups)
    return np.column_stack([groups, groups.sum(axis=1)])


def reached(groups, parts, width=4):
    """Photos of each class in each part."""
    counts = with_total(groups)
    return np.stack([counts[parts == part].sum(axis=0) for part in range(width)], axis=1)


def chi_square(groups, parts, shares):
    counts = with_total(groups)
    asked = counts.sum(axis=0)[:, None] * shares
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = (reached(groups, parts, len(shares)) - asked) ** 2 / asked
    return float(np.nansum(terms))


def test_shares_that_can_be_reached_are_reached():
    groups = [[1, 0]] * 40 + [[0, 1]] * 20
    found = reached(groups, deal(groups))
    assert found.tolist() == [[28, 4, 4, 4], [14, 2, 2, 2], [42, 6, 6, 6]]


def test_large_groups_leave_room_for_small_ones():
    groups = [[1, 0]] * 36 + [[44, 0]]  # the large one comes last by rank
    assert reached(groups, deal(groups))[0].tolist() == [56, 8, 8, 8]


def test_classes_that_cross_each_other_all_reach_their_shares():
    # 10 of each of the four combinations of two heads of two classes: 20 of every class.
    groups = [[a, 1 - a, b, 1 - b] for a, b in product([0, 1], repeat=2)] * 10
    found = reached(groups, deal(groups))
    np.testing.assert_allclose(found[:4], [[14, 2, 2, 2]] * 4, atol=1)


def test_what_is_there_already_is_made_up_for():
    there = np.array([[40, 0, 0, 0]] * 2)  # 40 of one class, all in the first part
    groups = [[1]] * 40
    found = reached(groups, deal(groups, there=there)) + there
    assert found[0].tolist() == [56, 8, 8, 8]


def test_groups_go_only_where_they_may():
    may = np.array([[True, False, True, False]] * 20)
    assert set(deal([[1]] * 20, may=may)) <= {0, 2}


def test_groups_of_no_class_are_shared_out_too():
    parts = stratify(
        csr_array([[0, 1]] * 20),
        np.ones((20, 4), bool),
        np.zeros((2, 4), int),
        np.array([SHARES * 0, SHARES * 20]),
        np.arange(20),
    )
    assert np.bincount(parts).tolist() == [14, 2, 2, 2]


def test_no_groups_no_parts():
    assert deal(np.zeros((0, 3), int)).shape == (0,)


GROUPS = st.lists(
    st.lists(st.integers(0, 6), min_size=2, max_size=2).filter(any), min_size=1, max_size=7
)


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_no_group_could_go_elsewhere_to_better_it(groups):
    shares = np.array([0.6, 0.2, 0.2])
    parts = deal(groups, shares=shares)
    ours = chi_square(groups, parts, shares)
    for group, part in product(range(len(groups)), range(3)):
        other = parts.copy()
        other[group] = part
        assert chi_square(groups, other, shares) >= ours - 1e-6


@given(GROUPS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_the_groups_does_not_matter(groups, random):
    rank = np.arange(len(groups))
    order = np.array(random.sample(range(len(groups)), len(groups)))
    shuffled = deal([groups[i] for i in order], rank=rank[order])
    assert shuffled.tolist() == deal(groups, rank=rank)[order].tolist()


@pytest.mark.parametrize("largest", [1, 5, 20])
def test_it_is_no_further_off_than_the_largest_group(largest):
    draw = np.random.default_rng(largest)
    groups = np.zeros((300, 5), int)
    groups[np.arange(300), draw.integers(0, 5, 300)] = draw.integers(1, largest + 1, 300)
    found = reached(groups, deal(groups))
    asked = with_total(groups).sum(axis=0)[:, None] * SHARES
    assert np.abs(found - asked)[:5, 1:].max() <= largest
