import numpy as np
import pytest

from cannabis_ml.calibration.promise import MILLISECONDS, TierAnswers
from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.inference.routing import Promised, RoutingRule, TierCost, TierThresholds
from cannabis_ml.pipelines.calibration.figures_routing import (
    cost_accuracy_figure,
    risk_coverage_figure,
)

# Five photos each of: sure and right, sure and wrong, unsure where tier 3 is right, and wrong.
TIERS = [
    TierAnswers(
        "tier1",
        np.repeat([0.9, 0.8, 0.3, 0.2], 5),
        np.repeat([True, False, False, False], 5),
        TierCost(10),
    ),
    TierAnswers(
        "tier3",
        np.repeat([0.95, 0.9, 0.85, 0.1], 5),
        np.repeat([True, True, True, False], 5),
        TierCost(100),
    ),
]
GROUPS = np.arange(20)
RULE = RoutingRule(
    head="kind",
    tiers=[
        TierThresholds(tier="tier1", accept_from=0.5),
        TierThresholds(tier="tier3", accept_from=0.5),
    ],
    promised=Promised(error_rate=0.4, confidence=0.9, groups=50, accepted=40, errors=10),
)


def curves(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}


def points(figure):
    """Point and whiskers by label."""
    return {
        bar.get_label(): (bar.lines[0].get_xydata()[0], bar.lines[2][0].get_segments()[0][:, 1])
        for bar in figure.axes[0].containers
    }


def test_risk_and_coverage_by_hand():
    figure = risk_coverage_figure(RULE, TIERS, GROUPS)
    drawn = curves(figure)
    np.testing.assert_allclose(
        drawn["tier1 alone"], [(0.25, 0), (0.5, 0.5), (0.75, 2 / 3), (1, 0.75)]
    )
    np.testing.assert_allclose(drawn["tier3 alone"], [(0.25, 0), (0.5, 0), (0.75, 0), (1, 0.25)])
    # The routing's answers: 0.9 right, 0.85 right, 0.8 wrong, 0.1 wrong.
    np.testing.assert_allclose(
        drawn["the routing's answers"], [(0.25, 0), (0.5, 0), (0.75, 1 / 3), (1, 0.5)]
    )
    chosen, whiskers = points(figure)["chosen thresholds, with 95% interval"]
    assert chosen == pytest.approx([0.75, 1 / 3])
    assert whiskers == pytest.approx(wilson(5, 15))
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("kind, by max probability: 20 test photos\n75% of answers are accepted")
    assert [text.get_text() for text in figure.axes[0].texts] == ["promised: at most 40%"]


def test_cost_and_accuracy_by_hand():
    figure = cost_accuracy_figure(RULE, TIERS, GROUPS, MILLISECONDS)
    drawn = points(figure)
    assert drawn["always tier1"][0] == pytest.approx([10, 0.25])
    assert drawn["always tier3"][0] == pytest.approx([100, 0.75])
    # Half of the photos go on to tier 3, of which half are right there.
    assert drawn["chosen thresholds"][0] == pytest.approx([10 + 0.5 * 100, 0.5])
    line = curves(figure)["same quantile on all tiers"]
    assert line[0] == pytest.approx([10, 0.25])
    assert line[-1] == pytest.approx([110, 0.75])
    title = figure.axes[0].get_title(loc="left")
    assert "chosen: 50.0% right at a cost of 60, 60% of that of always tier3" in title
    assert figure.axes[0].get_xlabel() == "mean cost of a photo (milliseconds)"


def test_a_routing_that_accepts_nothing_is_drawn():
    nothing = RULE.model_copy(
        update={
            "tiers": [tier.model_copy(update={"accept_from": None}) for tier in RULE.tiers],
            "promised": None,
        }
    )
    figure = risk_coverage_figure(nothing, TIERS, GROUPS)
    assert "no answer is accepted" in figure.axes[0].get_title(loc="left")
    assert list(points(figure)) == []
    cost = points(cost_accuracy_figure(nothing, TIERS, GROUPS, MILLISECONDS))["chosen thresholds"]
    assert cost[0] == pytest.approx([110, 0.75])


def test_groups_and_missing_costs_are_reported():
    figure = cost_accuracy_figure(RULE, TIERS, GROUPS // 2, TierCost(energy=1))
    title = figure.axes[0].get_title(loc="left")
    assert "20 test photos in 10 groups" in title
    assert "no tier costs anything: set calibration.routing.costs" in title
