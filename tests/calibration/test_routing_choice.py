import numpy as np
import pytest

from cannabis_ml.calibration.routing_choice import (
    CostParams,
    PromiseParams,
    RoutingParams,
    TierEvidence,
    choose_routing,
)
from cannabis_ml.calibration.tier_answers import RoutedHead
from cannabis_ml.errors import CalibrationError
from cannabis_ml.inference.routing import TierCost
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head

KIND = Head(name="kind", classes=["a", "b"])
COUNTS = {Split.VALIDATION: 150, Split.CALIBRATION: 400, Split.TEST: 400}


def tier(seed, wrong, milliseconds, counts=COUNTS):
    """Right as often as it is sure; `wrong` is how unsure it is on average."""
    random = np.random.default_rng(seed)
    heads, groups = {}, {}
    for split, count in counts.items():
        doubt = np.clip(random.exponential(wrong, count), 0, 0.5)
        right = random.random(count) >= doubt
        scores = {"max_probability": 1 - doubt, "margin": 1 - 2 * doubt}
        heads[split] = RoutedHead(
            scores, right, np.full(count, "a"), random.random(count), unknown_above=0.98
        )
        groups[split] = np.arange(count)
    return TierEvidence(heads, groups, milliseconds)


@pytest.fixture(scope="module")
def tiers():
    return {"tier1": tier(0, 0.1, 5.0), "tier3": tier(1, 0.03, 100.0)}


def test_a_promise_that_can_be_kept_is_the_rule_and_is_reported(tiers):
    rule, report = choose_routing(KIND, tiers, RoutingParams())
    assert report.thresholds == "promised"
    assert report.kept
    assert rule.promised.error_rate == 0.05
    assert rule.promised.groups == 400  # all of them: validation photos found the sequence
    assert "At most 5% of accepted answers are wrong, with 95% confidence" in report.sentence
    assert report.bound <= 0.05
    assert report.test.error_rate <= 0.06
    assert report.test.cost.milliseconds < report.test.cost_of_last.milliseconds
    assert [row.unknown_above for row in rule.tiers] == [0.98, 0.98]
    assert [row.cost for row in rule.tiers] == [TierCost(5.0), TierCost(100.0)]


def test_what_cannot_be_promised_is_reported_and_thresholds_are_fixed(tiers):
    few = {
        name: tier(seed, 0.05, 5.0, {split: 25 for split in Split if split != Split.TRAIN})
        for seed, name in enumerate(("tier1", "tier3"))
    }
    rule, report = choose_routing(KIND, few, RoutingParams())
    assert report.thresholds == "fixed"
    assert not report.kept
    assert "cannot be promised at 95% confidence with 25 groups of photos" in report.sentence
    assert "would do" in report.sentence
    assert "nothing is promised" in report.sentence
    assert report.needed_groups > 25
    assert rule.promised is None
    assert [row.accept_from for row in rule.tiers] == [0.75, None]
    assert [row.unknown_above for row in rule.tiers] == [0.98, 0.98]
    assert rule.score == "max_probability"
    params = RoutingParams(promise=PromiseParams(otherwise="nothing"))
    rule, report = choose_routing(KIND, few, params)
    assert report.thresholds == "none"
    assert report.calibration.accepted == 0


def test_fixed_thresholds_where_no_promise_is_asked_for(tiers):
    params = RoutingParams(promise=None, thresholds=[0.9, 0.5], score="margin")
    rule, report = choose_routing(KIND, tiers, params)
    assert report.thresholds == "fixed"
    assert (rule.tiers[0].accept_from, rule.tiers[1].accept_all) == (0.9, True)
    # They are on calibrated probability, whatever score was asked for.
    assert rule.score == report.score == "max_probability"
    accepted = tiers["tier1"].heads[Split.TEST]
    share = (accepted.scores["max_probability"] >= 0.9) & (accepted.unknown <= 0.98)
    assert report.test.answered["tier1"] == pytest.approx(share.mean())
    with pytest.raises(CalibrationError, match="has 0 values; 2 tiers take 1"):
        choose_routing(KIND, tiers, RoutingParams(promise=None, thresholds=[]))


def test_costs_are_measured_or_as_configured(tiers):
    costs = {"tier3": CostParams(milliseconds=7.0, money=0.5)}
    _, report = choose_routing(KIND, tiers, RoutingParams(costs=costs))
    assert report.costs == {"tier1": TierCost(5.0), "tier3": TierCost(7.0, 0.5)}
    left_out = RoutingParams(costs={"tier9": CostParams(money=9.0)})
    assert set(choose_routing(KIND, tiers, left_out)[1].costs) == {"tier1", "tier3"}


def test_the_score_is_chosen_on_validation_photos_or_configured(tiers):
    _, report = choose_routing(KIND, tiers, RoutingParams())
    assert set(report.score_augrc) == {"max_probability", "margin"}
    assert "AUGRC" in report.score_because
    _, report = choose_routing(KIND, tiers, RoutingParams(score="margin"))
    assert report.score == "margin"
    with pytest.raises(CalibrationError, match="does not give the routing score 'entropy'"):
        choose_routing(KIND, tiers, RoutingParams(score="entropy"))


def test_without_validation_photos_part_of_the_calibration_photos_designs(tiers):
    counts = {Split.VALIDATION: 0, Split.CALIBRATION: 600, Split.TEST: 0}
    few = {"tier1": tier(0, 0.02, 5.0, counts), "tier3": tier(1, 0.01, 50.0, counts)}
    rule, report = choose_routing(KIND, few, RoutingParams())
    assert report.score == "max_probability"
    assert rule.promised.groups == 420
    assert report.test is None


def test_without_calibration_photos_the_error_names_what_to_set(tiers):
    counts = {**COUNTS, Split.CALIBRATION: 0}
    none = {"tier1": tier(0, 0.1, 5.0, counts)}
    with pytest.raises(CalibrationError, match=r"no routing can be chosen.*calibration\.routing"):
        choose_routing(KIND, none, RoutingParams())
