"""Routing that keeps a promise: at most so many accepted answers wrong, with so much confidence.

Learn-then-Test (Angelopoulos et al. 2021): a routing is a vector of thresholds, one per tier, and
its hypothesis is "more than `error_rate` of the accepted answers are wrong". Of independent photos
that were accepted, the number wrong is binomial, so its lower tail is a p-value. Routings are
tested from safe to cheap until one fails (fixed-sequence testing), each at the full level, so that
any that passed is a promise, and the cheapest is taken. The sequence is the Pareto front of p-value
and cost on other photos (Pareto testing, Laufer-Goldshtein et al., ICLR 2023): photos for design,
or part of those for testing.

One photo of each group of near-duplicates counts, as photos of a burst are wrong together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cannabis_ml.calibration.promise_search import (
    Prices,
    Search,
    TierAnswers,
    Vector,
    accepted_needed,
    frequent,
    joined,
)
from cannabis_ml.calibration.quantile import one_per_group
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.inference.confidence import ScoreName
from cannabis_ml.inference.routing import NONE, RoutingRule, TierCost

DESIGN_SHARE = 0.3
"""Of the photos, to find the sequence on where there are no others for that."""

FEWEST = 50
"""Groups answered with a class from which on the class gets a promise of its own."""

MILLISECONDS = TierCost(milliseconds=1.0)
"""Weights by which time alone counts."""


@dataclass(frozen=True)
class RoutingFigures:
    """What a routing does on photos.

    Attributes:
        photos: How many, in `groups`.
        answered: Share of photos by the tier whose answer is accepted; `""` for none.
        accepted: Share of photos with an accepted answer.
        error_rate: Share wrong of accepted answers; None where none is accepted.
        error_interval: Its 95% interval, by groups.
        cost: Mean per photo.
        cost_of_last: Mean per photo if only the last tier were asked.
    """

    photos: int
    groups: int
    answered: dict[str, float]
    accepted: float
    error_rate: float | None
    error_interval: tuple[float, float] | None
    cost: TierCost
    cost_of_last: TierCost


@dataclass(frozen=True)
class RoutingPromise:
    """A routing and whether it is promised.

    Attributes:
        kept: Whether the error rate is promised. If not, `rule` accepts no answer at all.
        rule: To apply.
        sentence: What is promised, or why it cannot be and what would do.
        p_value: Of the routing, on the photos it was tested on; None if none passed.
        bound: Upper bound of the error rate of accepted answers, at the confidence asked for.
        needed_groups: About how many groups of photos would do, where it is not promised; a guess
            from few photos. None where more photos like these seem not to help.
        not_by_class: Classes without a promise of their own, and how many groups were answered
            with them; empty unless thresholds per class were asked for.
        figures: On all photos that were given, which the routing was chosen on too.
    """

    kept: bool
    rule: RoutingRule
    sentence: str
    p_value: float | None
    bound: float | None
    needed_groups: int | None
    not_by_class: dict[str, int]
    figures: RoutingFigures


def promise_routing(  # noqa: PLR0913
    head: str,
    tiers: Sequence[TierAnswers],
    groups: np.ndarray,
    *,
    error_rate: float = 0.05,
    confidence: float = 0.95,
    score: ScoreName = "max_probability",
    design: tuple[Sequence[TierAnswers], np.ndarray] | None = None,
    weights: TierCost = MILLISECONDS,
    unanswered: float | None = None,
    last_accepts_all: bool = False,
    by_class: bool = False,
    fewest: int = FEWEST,
    seed: int = 0,
) -> RoutingPromise:
    """The cheapest routing whose accepted answers keep a promised error rate.

    Args:
        head: Head that routes, for the rule.
        tiers: In the order in which they are asked, on photos that nothing was fitted on.
        groups: Of each photo a number or name, (N,).
        error_rate: Largest share of accepted answers that may be wrong, in (0, 1).
        confidence: How often such a promise is to be kept, in (0, 1).
        score: Name of the routing score, for the rule.
        design: Tiers and groups of other photos, such as validation's, to find the sequence of
            routings on. Without it `DESIGN_SHARE` of the groups are taken for that, and the promise
            rests on the others.
        weights: How much each kind of cost counts.
        unanswered: Cost of a photo without an accepted answer besides that of asking all tiers, by
            the same weights; None takes as much again.
        last_accepts_all: Accept every answer of the last tier; else those below its threshold are
            not accepted.
        by_class: Also promise the error rate among the answers of each class, with thresholds of
            its own. Both promises then share what confidence leaves.
        fewest: Groups answered with a class for such a promise.
        seed: Of the photo that counts in each group, and of the share for design.

    Raises:
        ValueError: If there is no photo, or shapes or names do not fit.
    """
    _check(tiers, groups, error_rate, confidence)
    rows = one_per_group(groups, seed)
    if design is None:
        shuffled = np.random.default_rng([seed, 1]).permutation(rows)
        cut = round(DESIGN_SHARE * len(rows))
        plan = [tier.at(shuffled[:cut]) for tier in tiers]
        rows, share = shuffled[cut:], 1 - DESIGN_SHARE
    else:
        _check(design[0], design[1], error_rate, confidence)
        chosen = one_per_group(design[1], seed)
        plan, share = [tier.at(chosen) for tier in design[0]], 1.0
    tested = [tier.at(rows) for tier in tiers]
    total = sum((tier.cost for tier in tiers), TierCost()).weighed(weights)
    prices = Prices(
        [tier.cost.weighed(weights) for tier in tiers], total if unanswered is None else unanswered
    )
    level = (1 - confidence) / (2 if by_class else 1)
    search = Search(head, score, error_rate, confidence, level, prices, last_accepts_all)
    path = search.path(plan)
    passed = search.last_passed(path, tested)
    if by_class and passed is not None:
        classes = frequent(tested, fewest)
        sharper = search.last_passed(search.path_by_class(path, plan, classes), tested)
        passed = passed if sharper is None else sharper
    if passed is None:
        needed = search.needed([joined(*pair) for pair in zip(plan, tested, strict=True)])
        groups_needed = None if needed is None else max(len(rows) + 1, math.ceil(needed))
        in_all = None if groups_needed is None else math.ceil(groups_needed / share)
        rule = replace(search, accepts_all=False).rule(Vector((math.inf,) * len(tiers)), tiers)
        sentence = _cannot(error_rate, confidence, round(len(rows) / share), in_all)
        return RoutingPromise(
            False, rule, sentence, None, None, in_all, {}, judge_routing(rule, tiers, groups)
        )
    rule, not_by_class = search.promised(passed, tiers, tested)
    figures = judge_routing(rule, tiers, groups)
    assert rule.promised is not None
    of = rule.promised
    sentence = (
        f"At most {error_rate:.0%} of accepted answers are wrong, with {confidence:.0%} confidence:"
        f" {of.errors} of {of.accepted} were, among {of.groups} groups of photos."
    )
    bound = risk_bound(of.errors, of.accepted, 1 - level)
    p_value = search.p_value(passed, tested)
    if not by_class:
        not_by_class = {}
    return RoutingPromise(True, rule, sentence, p_value, bound, None, not_by_class, figures)


def judge_routing(
    rule: RoutingRule, tiers: Sequence[TierAnswers], groups: np.ndarray
) -> RoutingFigures:
    """What a routing does, on photos that may be others than those it was chosen on.

    Args:
        rule: Fixed or promised.
        tiers: As for `promise_routing`; `unknown_above` is the rule's.
        groups: As for `promise_routing`.
    """
    went = rule.route(
        [tier.score for tier in tiers],
        [tier.unknown for tier in tiers],
        [tier.classes() for tier in tiers],
    )
    n = len(went)
    accepted = went != NONE
    right = np.stack([np.asarray(tier.right, bool) for tier in tiers])[went, np.arange(n)]
    cost, spent = TierCost(), TierCost()
    for index, tier in enumerate(tiers):
        spent = spent + tier.cost
        asked_last = (went == index) | (~accepted & (index == len(tiers) - 1))
        cost = cost + spent.times(float(asked_last.mean()))
    wrong = ~right[accepted]
    return RoutingFigures(
        photos=n,
        groups=len(np.unique(groups)),
        answered={
            name: float((went == index).mean())
            for index, name in [*enumerate(t.tier for t in tiers), (NONE, "")]
        },
        accepted=float(accepted.mean()),
        error_rate=float(wrong.mean()) if accepted.any() else None,
        error_interval=by_groups(wrong, np.asarray(groups)[accepted]),
        cost=cost,
        cost_of_last=tiers[-1].cost,
    )


def risk_bound(errors: int, accepted: int, confidence: float) -> float:
    """Upper bound of an error rate (Clopper & Pearson 1934); 1 where nothing was accepted."""
    if errors >= accepted:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, errors + 1, accepted - errors))


def _cannot(error_rate: float, confidence: float, groups: int, needed: int | None) -> str:
    refusal = (
        f"An error rate of {error_rate:.0%} cannot be promised at {confidence:.0%} confidence with"
        f" {groups} groups of photos"
    )
    if needed is None:
        return f"{refusal}: even the surest answers seem wrong too often for more photos to help."
    return f"{refusal}: about {needed:,} would do."


def _check(
    tiers: Sequence[TierAnswers], groups: np.ndarray, error_rate: float, confidence: float
) -> None:
    if not tiers or not len(groups):
        raise ValueError("There is no tier, or no photo, to choose a routing by.")
    for tier in tiers:
        if not len(tier.score) == len(tier.right) == len(groups):
            raise ValueError(
                f"{tier.tier} has {len(tier.score)} scores and {len(tier.right)} answers for"
                f" {len(groups)} photos."
            )
    for name, share in (("error_rate", error_rate), ("confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; it lies in (0, 1).")


__all__ = [
    "FEWEST",
    "MILLISECONDS",
    "RoutingFigures",
    "RoutingPromise",
    "TierAnswers",
    "TierCost",
    "accepted_needed",
    "judge_routing",
    "promise_routing",
    "risk_bound",
]
