"""Promised routings: by hand, and by how often the promise is kept."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from cannabis_ml.calibration.promise import (
    TierAnswers,
    TierCost,
    accepted_needed,
    judge_routing,
    promise_routing,
    risk_bound,
)
from cannabis_ml.inference.routing import NONE, RoutingRule, TierThresholds

COSTS = [TierCost(1, money=0.0, energy=0.1), TierCost(5, energy=0.5), TierCost(100, money=0.2)]
CLASSES = np.array(["leaf", "bud", "hash"])


def drawn(random, groups, copies=1, hardness=(0.9, 0.7, 0.4), flattered=()):
    """Three tiers that find the same photos hard; scores tell, with noise, how hard.

    Answers of the `flattered` classes are wrong more often than their scores say.
    """
    hard = random.random(groups) ** 2
    named = CLASSES[random.choice(3, groups, p=[0.5, 0.4, 0.1])]
    tiers = []
    for index, (much, cost) in enumerate(zip(hardness, COSTS, strict=True)):
        sure = 1 - much * hard
        right = random.random(groups) < np.where(np.isin(named, flattered), sure**3, sure)
        score = np.clip(sure + 0.05 * random.normal(size=groups), 0, 1)
        tiers.append(
            TierAnswers(
                f"tier{index + 1}",
                np.repeat(score, copies),
                np.repeat(right, copies),
                cost,
                answers=np.repeat(named, copies),
            )
        )
    return tiers, np.repeat(np.arange(groups), copies)


def true_error(rule, truth):
    tiers, groups = truth
    return judge_routing(rule, tiers, groups).error_rate


@pytest.fixture(scope="module")
def truth():
    """So many photos that what they say is the truth."""
    return drawn(np.random.default_rng(99), 20_000)


@pytest.fixture(scope="module")
def flattering_truth():
    return drawn(np.random.default_rng(99), 20_000, flattered=["bud"])


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 5])
def test_promises_are_kept_as_often_as_promised(truth, copies):
    """200 repetitions of 400 groups: 10% promised at 90% confidence."""
    random = np.random.default_rng(copies)
    broken = made = 0
    for seed in range(200):
        tiers, groups = drawn(random, 400, copies)
        found = promise_routing("kind", tiers, groups, error_rate=0.1, confidence=0.9, seed=seed)
        made += found.kept
        broken += found.kept and true_error(found.rule, truth) > 0.1
    assert made > 100
    assert broken <= binom.ppf(0.995, 200, 0.1)


@pytest.mark.slow
def test_photos_taken_one_by_one_would_break_the_promise(truth):
    """The same with copies counted as photos of their own."""
    random = np.random.default_rng(5)
    broken = 0
    for seed in range(100):
        tiers, groups = drawn(random, 80, 5)
        found = promise_routing(
            "kind", tiers, np.arange(len(groups)), error_rate=0.1, confidence=0.9, seed=seed
        )
        broken += found.kept and true_error(found.rule, truth) > 0.1
    assert broken > binom.ppf(0.999, 100, 0.1)


@pytest.mark.slow
def test_promises_by_class_are_kept(flattering_truth):
    everything, alone = flattering_truth
    random = np.random.default_rng(3)
    broken = sharper = 0
    for seed in range(60):
        design = drawn(random, 1000, flattered=["bud"])
        tiers, groups = drawn(random, 2000, flattered=["bud"])
        found = promise_routing(
            "kind",
            tiers,
            groups,
            error_rate=0.15,
            confidence=0.9,
            design=design,
            by_class=True,
            seed=seed,
        )
        if not found.rule.promised_by_class:
            continue
        sharper += 1
        worst = 0.0
        for name in found.rule.promised_by_class:
            rows = everything[0].answers == name
            of_class = [tier.at(rows) for tier in everything]
            worst = max(worst, true_error(found.rule, (of_class, alone[rows])) or 0.0)
        broken += worst > 0.15
    assert sharper > 30
    assert broken <= binom.ppf(0.995, 60, 0.1)


def test_a_class_that_is_wrong_more_often_gets_stricter_thresholds():
    random = np.random.default_rng(1)
    tiers, groups = drawn(random, 3000, flattered=["bud"])
    found = promise_routing(
        "kind",
        tiers,
        groups,
        error_rate=0.15,
        confidence=0.9,
        design=drawn(random, 3000, flattered=["bud"]),
        by_class=True,
        fewest=400,
    )
    first = found.rule.tiers[0].by_class
    assert set(first) == {"leaf", "bud"}
    assert first["bud"] is None or first["bud"] > first["leaf"]
    assert found.rule.promised_by_class["leaf"].accepted > 100
    assert set(found.not_by_class) == {"hash"}
    assert 200 < found.not_by_class["hash"] < 400


def test_looser_promises_are_cheaper():
    random = np.random.default_rng(0)
    tiers, groups = drawn(random, 2000)
    costs = [
        promise_routing("kind", tiers, groups, error_rate=rate).figures.cost.milliseconds
        for rate in (0.05, 0.1, 0.2)
    ]
    assert costs[0] > costs[1] > costs[2]
    assert costs[1] < 100


def test_what_cannot_be_promised_names_how_many_photos_would_do():
    random = np.random.default_rng(1)
    needed, kept = [], 0
    for seed in range(12):
        found = promise_routing("kind", *drawn(random, 60), error_rate=0.1, seed=seed)
        assert not found.kept
        assert found.rule.promised is None
        assert all(tier.accept_from is None for tier in found.rule.tiers)
        assert (found.figures.accepted, found.figures.error_rate) == (0, None)
        told = f"with 60 groups of photos: about {found.needed_groups:,} would do."
        assert found.sentence.endswith(told)
        needed.append(found.needed_groups)
    for seed in range(20):
        more = drawn(random, int(np.median(needed)))
        kept += promise_routing("kind", *more, error_rate=0.1, seed=seed).kept
    assert min(needed) > 60
    assert kept >= 10


def test_no_number_of_photos_makes_coin_tosses_right():
    random = np.random.default_rng(0)
    tier = TierAnswers("tier1", random.random(300), random.random(300) < 0.5, COSTS[0])
    found = promise_routing("kind", [tier], np.arange(300))
    assert (found.kept, found.needed_groups) == (False, None)
    assert "too often for more photos to help" in found.sentence


def test_the_rule_that_was_tested_is_the_one_that_is_given():
    random = np.random.default_rng(4)
    tiers, groups = drawn(random, 500)
    design = drawn(random, 300)
    found = promise_routing("kind", tiers, groups, error_rate=0.1, design=design)
    figures = judge_routing(found.rule, tiers, groups)
    promised = found.rule.promised
    assert figures.accepted == pytest.approx(promised.accepted / 500)
    assert figures.error_rate == pytest.approx(promised.errors / promised.accepted)
    assert found.p_value == pytest.approx(binom.cdf(promised.errors, promised.accepted, 0.1))
    assert found.p_value <= 0.05
    assert found.bound <= 0.1
    assert figures == found.figures


def test_a_last_tier_may_accept_all():
    random = np.random.default_rng(6)
    tiers, groups = drawn(random, 2000, hardness=(0.9, 0.5, 0.1))
    found = promise_routing("kind", tiers, groups, error_rate=0.1, last_accepts_all=True)
    assert found.kept
    assert found.figures.accepted == 1.0
    assert found.figures.cost.milliseconds < 100
    assert found.rule.tiers[2].accept_all


def test_unknown_photos_are_not_accepted():
    random = np.random.default_rng(7)
    tiers, groups = drawn(random, 800)
    odd = np.arange(800) % 2 == 0
    tiers = [dataclasses.replace(t, unknown=odd.astype(float), unknown_above=0.5) for t in tiers]
    found = promise_routing("kind", tiers, groups, error_rate=0.15)
    assert found.kept
    assert 0.2 < found.figures.accepted <= 0.5
    assert found.rule.tiers[0].unknown_above == 0.5


def test_deterministic_by_seed():
    tiers, groups = drawn(np.random.default_rng(8), 300, 2)
    first = promise_routing("kind", tiers, groups, error_rate=0.1, seed=1)
    assert promise_routing("kind", tiers, groups, error_rate=0.1, seed=1) == first


def test_figures_by_hand():
    tiers = [
        TierAnswers("a", np.array([0.9, 0.2, 0.2, 0.1]), np.array([1, 0, 0, 1], bool), COSTS[0]),
        TierAnswers("b", np.array([0.9, 0.8, 0.2, 0.1]), np.array([1, 0, 1, 1], bool), COSTS[2]),
    ]
    rule = RoutingRule(
        head="kind",
        tiers=[
            TierThresholds(tier="a", accept_from=0.5),
            TierThresholds(tier="b", accept_from=0.15),
        ],
    )
    found = judge_routing(rule, tiers, np.arange(4))
    assert found.answered == {"a": 0.25, "b": 0.5, "": 0.25}
    assert found.accepted == 0.75
    assert found.error_rate == pytest.approx(1 / 3)
    assert found.cost.milliseconds == pytest.approx((1 + 3 * 101) / 4)
    assert found.cost.money == pytest.approx(3 * 0.2 / 4)
    assert found.cost_of_last == COSTS[2]


@pytest.mark.parametrize(("errors", "accepted"), [(0, 100), (3, 60), (10, 10)])
def test_bound_is_scipys(errors, accepted):
    theirs = binomtest(errors, accepted).proportion_ci(0.9).high  # two-sided 90% is one-sided 95%
    assert risk_bound(errors, accepted, 0.95) == pytest.approx(theirs)


def test_no_errors_bound_the_risk_at_three_over_n():
    assert accepted_needed(1e-9, 0.03, 0.05) == 99  # 0.97^99 < 0.05 < 0.97^98
    assert accepted_needed(1e-9, 0.01, 0.05) == 299
    assert accepted_needed(0.05, 0.05, 0.05) is None
    needed = accepted_needed(0.02, 0.05, 0.05)
    most = max(k for k in range(needed) if binom.cdf(k, needed, 0.05) <= 0.05)
    assert binom.cdf(most, needed, 0.02) >= 0.8


def test_bad_input_is_refused():
    tiers, groups = drawn(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match="tier1 has 20 scores"):
        promise_routing("kind", tiers, groups[:-1])
    with pytest.raises(ValueError, match="error_rate is 0"):
        promise_routing("kind", tiers, groups, error_rate=0)
    with pytest.raises(ValueError, match="no photo"):
        promise_routing("kind", [t.at(np.arange(0)) for t in tiers], groups[:0])


def test_routing_stops_at_the_first_accepted_tier():
    rule = RoutingRule(
        head="kind",
        tiers=[
            TierThresholds(tier="a", accept_from=0.5, by_class={"bud": 0.9}, unknown_above=2.0),
            TierThresholds(tier="b", accept_from=None, by_class={"leaf": 0.1}),
        ],
    )
    scores = [np.array([0.6, 0.6, 0.95, 0.6]), np.full(4, 0.3)]
    answers = [np.array(["leaf", "bud", "bud", "leaf"]), np.array(["leaf", "bud", "leaf", "leaf"])]
    unknown = [np.array([0.0, 0.0, 0.0, 3.0]), None]
    assert rule.route(scores, unknown, answers).tolist() == [0, NONE, 0, 1]
    assert RoutingRule.model_validate_json(rule.model_dump_json()) == rule


def test_fixed_thresholds():
    rule = RoutingRule.fixed("kind", ["tier1", "tier2", "tier3"])
    assert [tier.accept_from for tier in rule.tiers] == [0.75, 0.8, None]
    scores = [np.array([0.8, 0.5, 0.5]), np.array([0.5, 0.85, 0.5]), np.array([0.1, 0.1, 0.1])]
    names = [np.full(3, "leaf")] * 3
    assert rule.route(scores, [None] * 3, names).tolist() == [0, 1, 2]
