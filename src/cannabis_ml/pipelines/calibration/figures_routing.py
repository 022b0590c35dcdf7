"""Figures on routing: what it costs and how often it is wrong, on test photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cannabis_ml._io.drawing import Figure
from cannabis_ml.calibration.promise import TierAnswers, judge_routing
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.ranking import risk_coverage
from cannabis_ml.inference.routing import NONE, RoutingRule, TierCost

if TYPE_CHECKING:
    from cannabis_ml._io.drawing import Axes

INK, FAINT, CHOSEN = "#222222", "#8a8a8a", "#c2452d"
TIERS = ("#9ecae1", "#4292c6", "#08519c", "#08306b")
"""Colors of tiers, the smallest first."""

LEAST_COVERAGE = 0.05
"""Curves begin here: what fewer answers show is noise."""

STEPS = 41
"""Points of the line of common thresholds."""

SIZE = (7.4, 5.6)


def risk_coverage_figure(
    rule: RoutingRule, tiers: Sequence[TierAnswers], groups: np.ndarray
) -> Figure:
    """Draw how often accepted answers are wrong, against how many are accepted.

    A curve per tier, and one of the answers that the routing ends with, by the score of the tier
    that gives each. The chosen thresholds are a point, with the interval of its error rate.

    Args:
        rule: Of the routing.
        tiers: What they answer for test photos, in the order of the rule.
        groups: Of each photo a number or name, (N,).
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = _axes(figure, "share of photos whose answer is accepted", "share of these that is wrong")
    for tier, color in zip(tiers, _colors(tiers), strict=True):
        _draw_curve(axes, tier.score, tier.right, _Line(color, f"{tier.tier} alone"))
    last, score, right = _ended(rule, tiers)
    _draw_curve(axes, score, right, _Line(CHOSEN, "the routing's answers", "--"))
    routed = judge_routing(rule, tiers, groups)
    lines = [_head_line(rule, len(last), routed.groups)]
    if routed.error_rate is None:
        lines.append("no answer is accepted")
    else:
        low, high = routed.error_interval or (0.0, 1.0)
        axes.errorbar(
            [routed.accepted],
            [routed.error_rate],
            yerr=[[routed.error_rate - low], [high - routed.error_rate]],
            fmt="o",
            color=CHOSEN,
            ms=9,
            capsize=4,
            label="chosen thresholds, with 95% interval",
        )
        lines.append(
            f"{routed.accepted:.0%} of answers are accepted; {routed.error_rate:.1%} of these are"
            f" wrong ({low:.1%} to {high:.1%})"
        )
    if rule.promised is not None:
        axes.axhline(rule.promised.error_rate, color=INK, lw=1, ls=":")
        axes.annotate(
            f"promised: at most {rule.promised.error_rate:.0%}",
            (0, rule.promised.error_rate),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    _finish(axes, lines)
    return figure


def cost_accuracy_figure(
    rule: RoutingRule,
    tiers: Sequence[TierAnswers],
    groups: np.ndarray,
    weights: TierCost,
) -> Figure:
    """Draw how often the final answers are right, against what a photo costs.

    Every photo has a final answer: of the tier that accepts one, or else of the last. Shown are
    each tier by itself; the routing with its chosen thresholds; and a line of routings whose
    thresholds on all tiers are the same quantile of their scores, from accepting everything to
    asking every tier.

    Args:
        rule: As for `risk_coverage_figure`.
        tiers: As for `risk_coverage_figure`, with their costs.
        groups: As for `risk_coverage_figure`.
        weights: How much each kind of cost counts.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = _axes(figure, f"mean cost of a photo ({_unit(weights)})", "share of final answers right")
    line = [_with_common_quantile(tiers, q, weights) for q in np.linspace(0, 1, STEPS)]
    axes.plot(*zip(*line, strict=True), color=FAINT, lw=1.4, label="same quantile on all tiers")
    for tier, color in zip(tiers, _colors(tiers), strict=True):
        accuracy = float(np.mean(tier.right))
        axes.errorbar(
            [tier.cost.weighed(weights)],
            [accuracy],
            yerr=_around(np.asarray(tier.right, bool), groups, accuracy),
            fmt="s",
            color=color,
            ms=8,
            capsize=4,
            elinewidth=1,
            label=f"always {tier.tier}",
        )
    _, _, right = _ended(rule, tiers)
    cost = judge_routing(rule, tiers, groups).cost.weighed(weights)
    accuracy = float(right.mean())
    axes.errorbar(
        [cost],
        [accuracy],
        yerr=_around(right, groups, accuracy),
        fmt="o",
        color=CHOSEN,
        ms=9,
        capsize=4,
        label="chosen thresholds",
    )
    always = tiers[-1].cost.weighed(weights)
    lines = [_head_line(rule, len(right), len(np.unique(groups)))]
    chosen = f"chosen: {accuracy:.1%} right at a cost of {cost:.3g}"
    if always:
        chosen += f", {cost / always:.0%} of that of always {tiers[-1].tier}"
    lines.append(f"{chosen}; whiskers: 95% intervals")
    if not any(tier.cost.weighed(weights) for tier in tiers):
        lines.append("no tier costs anything: set calibration.routing.costs")
    axes.set_xlim(left=0)
    _finish(axes, lines)
    return figure


def _ended(
    rule: RoutingRule, tiers: Sequence[TierAnswers]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per photo the tier that the routing ends with, and that one's score and rightness."""
    went = rule.route(
        [tier.score for tier in tiers],
        [tier.unknown for tier in tiers],
        [tier.classes() for tier in tiers],
    )
    last = np.where(went == NONE, len(tiers) - 1, went)
    rows = np.arange(len(last))
    score = np.stack([np.asarray(tier.score, np.float64) for tier in tiers])[last, rows]
    right = np.stack([np.asarray(tier.right, bool) for tier in tiers])[last, rows]
    return last, score, right


def _with_common_quantile(
    tiers: Sequence[TierAnswers], quantile: float, weights: TierCost
) -> tuple[float, float]:
    """Mean cost and accuracy where each tier but the last accepts scores above its quantile."""
    photos = len(tiers[0].score)
    waiting, right, cost = np.ones(photos, bool), np.zeros(photos, bool), 0.0
    for index, tier in enumerate(tiers):
        cost += tier.cost.weighed(weights) * waiting.mean()
        score = np.asarray(tier.score, np.float64)
        takes = waiting & (score >= np.quantile(score, quantile))
        if index == len(tiers) - 1:
            takes = waiting
        elif quantile == 1:
            takes = np.zeros_like(waiting)
        right |= takes & np.asarray(tier.right, bool)
        waiting = waiting & ~takes
    return float(cost), float(right.mean())


class _Line(NamedTuple):
    color: str
    label: str
    style: str = "-"


def _draw_curve(axes: Axes, score: np.ndarray, right: np.ndarray, line: _Line) -> None:
    curve = risk_coverage(score, right)
    shown = curve.coverage >= LEAST_COVERAGE
    axes.plot(
        curve.coverage[shown],
        curve.risk[shown],
        color=line.color,
        lw=1.8,
        ls=line.style,
        drawstyle="steps-post" if shown.sum() < 20 else "default",
        label=line.label,
    )


def _around(right: np.ndarray, groups: np.ndarray, accuracy: float) -> list[list[float]]:
    low, high = by_groups(right, groups) or (accuracy, accuracy)
    return [[accuracy - low], [high - accuracy]]


def _axes(figure: Figure, x: str, y: str) -> Axes:
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    return axes


def _finish(axes: Axes, lines: Sequence[str]) -> None:
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    if "share" in axes.get_xlabel():
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_title("\n".join(lines), loc="left", fontsize=9.5, color=INK)
    axes.legend(frameon=False, fontsize=8.5)


def _head_line(rule: RoutingRule, photos: int, groups: int) -> str:
    title = f"{rule.head}, by {rule.score.replace('_', ' ')}: {photos:,} test photos"
    return f"{title} in {groups:,} groups" if groups < photos else title


def _unit(weights: TierCost) -> str:
    if (weights.money, weights.energy) == (0, 0):
        return "milliseconds" if weights.milliseconds == 1 else "time, weighed"
    return "time, money and energy, weighed"


def _colors(tiers: Sequence[TierAnswers]) -> list[str]:
    return [TIERS[min(index, len(TIERS) - 1)] for index in range(len(tiers))]
