"""Routings to test: the Pareto front of p-value and cost, and fixed-sequence testing along it.

See `promise`, which promises what passes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cannabis_ml.inference.confidence import ScoreName
from cannabis_ml.inference.routing import NONE, Promised, RoutingRule, TierCost, TierThresholds

VECTORS = 10_000
"""Routings that are looked at, about."""

STEPS = 25
"""Thresholds of a tier that are looked at, at most."""

EVIDENCE = 0.1
"""Largest p-value within a class, on the photos for design, that makes a promise of its own worth
a test."""

POWER = 0.8
"""Chance that the test passes with as many photos as `accepted_needed` gives."""

SUPPOSED = 60
"""See `Search.needed`."""

_MOST_PHOTOS = 1_000_000


@dataclass(frozen=True, eq=False)
class TierAnswers:
    """Answers of one tier for photos with known labels, the same photos for every tier.

    Attributes:
        tier: Its name.
        score: Routing scores, (N,), higher is surer.
        right: Whether its answers are right, bool (N,).
        cost: Of asking it about one photo.
        unknown: Unknown scores, (N,); None where it has none.
        unknown_above: Photos whose unknown score is higher are not accepted.
        answers: Answered classes as text, (N,); needed for thresholds per class.
    """

    tier: str
    score: np.ndarray
    right: np.ndarray
    cost: TierCost = field(default_factory=TierCost)
    unknown: np.ndarray | None = None
    unknown_above: float | None = None
    answers: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """Photos whose answer may be accepted, bool (N,)."""
        if self.unknown is None or self.unknown_above is None:
            return np.ones(len(self.score), bool)
        return np.asarray(self.unknown) <= self.unknown_above

    def classes(self) -> np.ndarray:
        """Answered classes, empty text where they were not given."""
        if self.answers is None:
            return np.full(len(self.score), "", object)
        return np.asarray(self.answers, object)

    def at(self, rows: np.ndarray) -> TierAnswers:
        """The same for some photos."""
        return TierAnswers(
            self.tier,
            np.asarray(self.score, np.float64)[rows],
            np.asarray(self.right, bool)[rows],
            self.cost,
            None if self.unknown is None else np.asarray(self.unknown)[rows],
            self.unknown_above,
            None if self.answers is None else np.asarray(self.answers, object)[rows],
        )


def accepted_needed(share_wrong: float, error_rate: float, level: float) -> int | None:
    """How many accepted answers a promise takes, where so many are wrong.

    Args:
        share_wrong: That is expected.
        error_rate: To promise.
        level: 1 less the confidence.

    Returns:
        The fewest with which the test passes with probability `POWER`; None where none would do.
    """
    from scipy.stats import binom

    def enough(n: int) -> bool:
        # The most errors that pass; ppf gives the first count whose tail is above the level.
        most = int(binom.ppf(level, n, error_rate))
        most -= binom.cdf(most, n, error_rate) > level
        return most >= 0 and bool(binom.cdf(most, n, share_wrong) >= POWER)

    if share_wrong >= error_rate:
        return None
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_PHOTOS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _tail(errors: Any, accepted: Any, error_rate: float) -> Any:
    """How probable so few errors are, where accepted answers are wrong at that rate."""
    from scipy.special import bdtr  # `binom.cdf` without checks, which take most of its time

    return bdtr(errors, np.asarray(accepted, np.int64), error_rate)


@dataclass(frozen=True)
class Prices:
    """Cost of asking each tier, and of a photo without an accepted answer, by weight."""

    tiers: Sequence[float]
    unanswered: float

    def mean(self, went: np.ndarray) -> float:
        spent = np.cumsum(self.tiers)
        shares = np.bincount(went + 1, minlength=len(spent) + 1) / max(1, len(went))
        return float(shares[1:] @ spent + shares[0] * (spent[-1] + self.unanswered))


@dataclass(frozen=True)
class Vector:
    """Thresholds per tier, and per class and tier where they differ."""

    common: tuple[float, ...]
    by_class: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def went(self, tiers: Sequence[TierAnswers], accepts_all: bool) -> np.ndarray:
        """Index of the accepted tier of each photo, `NONE` for none."""
        accepted_by = np.full(len(tiers[0].score), NONE, np.int64)
        for index, tier in reversed(list(enumerate(tiers))):
            if accepts_all and index == len(tiers) - 1:
                accepted_by[:] = index
                continue
            least = np.full(len(accepted_by), self.common[index])
            for name, own in self.by_class.items():
                least[tier.classes() == name] = own[index]
            accepted_by[(tier.score >= least) & np.isfinite(least) & tier.known] = index
        return accepted_by


@dataclass(frozen=True)
class Search:
    """The search for a routing, with what is promised of it."""

    head: str
    score: ScoreName
    error_rate: float
    confidence: float
    level: float
    prices: Prices
    accepts_all: bool

    def p_value(self, vector: Vector, tiers: Sequence[TierAnswers]) -> float:
        """Of "more than the promised rate is wrong", over all answers or within some class."""
        went = vector.went(tiers, self.accepts_all)
        answered = _answer_of(went, tiers)
        worst = self.tail(*_count(went, tiers))
        for name, own in vector.by_class.items():
            if np.isfinite(own).any():
                within = np.where(answered == name, went, NONE)
                worst = max(worst, self.tail(*_count(within, tiers)))
        return worst

    def tail(self, accepted: int, errors: int) -> float:
        return float(_tail(errors, accepted, self.error_rate)) if accepted else 1.0

    def path(self, plan: Sequence[TierAnswers]) -> list[Vector]:
        """Routings from safe to cheap, none of which is worse than another in both."""
        steps = min(STEPS, max(2, int(VECTORS ** (1 / len(plan)))))
        grids = [_grid(tier, steps) for tier in plan]
        if self.accepts_all:
            grids[-1] = [-math.inf]
        accepted, errors, costs = _outcomes(grids, plan, self.prices, self.accepts_all)
        tails = np.where(accepted > 0, _tail(errors, accepted, self.error_rate), 1.0)
        every = list(itertools.product(*grids))
        return [Vector(every[i]) for i in _front(tails, costs)]

    def last_passed(self, path: Sequence[Vector], tested: Sequence[TierAnswers]) -> Vector | None:
        """Fixed-sequence testing: the last routing before the first that fails."""
        passed = None
        for vector in path:
            if self.p_value(vector, tested) > self.level:
                break
            passed = vector
        return passed

    def path_by_class(
        self, path: Sequence[Vector], plan: Sequence[TierAnswers], classes: Sequence[str]
    ) -> list[Vector]:
        """The same with stricter thresholds for classes that are wrong more often.

        Along the path each class follows as far as its own answers keep the rate too. Classes that
        never clearly do keep the common thresholds, without a promise of their own.
        """
        within: dict[str, np.ndarray] = {}
        for name in classes:
            tails = np.ones(len(path))
            for index, vector in enumerate(path):
                went = vector.went(plan, self.accepts_all)
                answered = _answer_of(went, plan)
                tails[index] = self.tail(*_count(np.where(answered == name, went, NONE), plan))
            if tails.min(initial=1.0) <= EVIDENCE:
                within[name] = tails
        vectors = []
        for index, vector in enumerate(path):
            own = {}
            for name, tails in within.items():
                fitting = np.flatnonzero(tails[: index + 1] <= EVIDENCE)
                place = int(fitting[-1] if len(fitting) else tails.argmin())
                own[name] = path[place].common
            vectors.append(Vector(vector.common, own))
        if not within:
            return []
        tails = np.array([self.p_value(vector, plan) for vector in vectors])
        wents = [vector.went(plan, self.accepts_all) for vector in vectors]
        return [vectors[i] for i in _front(tails, np.array([self.prices.mean(w) for w in wents]))]

    def needed(self, everything: Sequence[TierAnswers]) -> float | None:
        """About how many photos the promise takes, by the routing that needs the fewest.

        The best of many routings was lucky, so the errors counted are drawn towards those that the
        scores alone let expect, which count as `SUPPOSED` answers.
        """
        expected = np.stack([_wrong_by_score(tier) for tier in everything])
        counts = []
        for vector in self.path(everything):
            went = vector.went(everything, self.accepts_all)
            accepted, errors = _count(went, everything)
            if not accepted:
                continue
            rows = np.flatnonzero(went != NONE)
            supposed = expected[went[rows], rows].mean()
            wrong = (errors + SUPPOSED * supposed) / (accepted + SUPPOSED)
            many = accepted_needed(wrong, self.error_rate, self.level)
            if many is not None:
                counts.append(many * len(went) / accepted)
        return min(counts, default=None)

    def promised(
        self, vector: Vector, tiers: Sequence[TierAnswers], tested: Sequence[TierAnswers]
    ) -> tuple[RoutingRule, dict[str, int]]:
        """The rule with what it rests on, and the classes that have no promise of their own."""
        went = vector.went(tested, self.accepts_all)
        answered = _answer_of(went, tested)

        def rests_on(went: np.ndarray) -> Promised:
            accepted, errors = _count(went, tested)
            return Promised(
                error_rate=self.error_rate,
                confidence=self.confidence,
                groups=len(went),
                accepted=accepted,
                errors=errors,
            )

        own = {
            name: rests_on(np.where(answered == name, went, NONE))
            for name, thresholds in vector.by_class.items()
            if np.isfinite(thresholds).any()
        }
        names, counts = np.unique(tested[0].classes().astype(str), return_counts=True)
        others = {str(c): int(k) for c, k in zip(names, counts, strict=True) if c not in own}
        rule = self.rule(vector, tiers)
        return rule.model_copy(
            update={"promised": rests_on(went), "promised_by_class": own}
        ), others

    def rule(self, vector: Vector, tiers: Sequence[TierAnswers]) -> RoutingRule:
        return RoutingRule(
            head=self.head,
            score=self.score,
            tiers=[
                TierThresholds(
                    tier=tier.tier,
                    accept_from=_finite(vector.common[index]),
                    accept_all=self.accepts_all and index == len(tiers) - 1,
                    by_class={c: _finite(own[index]) for c, own in vector.by_class.items()},
                    unknown_above=tier.unknown_above,
                    cost=tier.cost,
                )
                for index, tier in enumerate(tiers)
            ],
        )


def _outcomes(
    grids: Sequence[Sequence[float]],
    plan: Sequence[TierAnswers],
    prices: Prices,
    accepts_all: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every combination of thresholds: answers accepted, those wrong, and the mean cost."""
    n = len(plan[0].score)
    waiting = np.ones((1, n), np.float32)  # photos that no tier before has accepted
    accepted, errors, costs = (np.zeros((1, 1)) for _ in range(3))
    for index, (grid, tier) in enumerate(zip(grids, plan, strict=True)):
        least = np.array(grid)[:, None]
        takes = (tier.score >= least) & np.isfinite(least) & tier.known
        if accepts_all and index == len(plan) - 1:
            takes = np.ones_like(takes)
        taken = takes.astype(np.float32)
        cost = waiting.sum(axis=1, keepdims=True) * prices.tiers[index]
        accepted = (accepted + waiting @ taken.T).reshape(-1, 1)
        errors = (errors + (waiting * ~tier.right) @ taken.T).reshape(-1, 1)
        costs = np.broadcast_to(costs + cost, (len(waiting), len(grid))).reshape(-1, 1)
        waiting = (waiting[:, None] * (1 - taken)).reshape(-1, n)
    costs = costs + waiting.sum(axis=1, keepdims=True) * prices.unanswered
    return accepted[:, 0].round(), errors[:, 0].round(), costs[:, 0] / max(1, n)


def _front(tails: np.ndarray, costs: np.ndarray) -> list[int]:
    """Pareto front of p-value and cost, from the lowest p-value on; vacuous ones left out."""
    kept, cheapest = [], math.inf
    for index in np.lexsort((costs, tails)):
        if tails[index] < 1 and costs[index] < cheapest:
            kept.append(int(index))
            cheapest = costs[index]
    return kept


def _grid(tier: TierAnswers, steps: int) -> list[float]:
    """Thresholds to try: quantiles of the scores, and infinity, which accepts nothing."""
    levels = np.linspace(0, 1, steps - 1)
    if not len(tier.score):
        return [math.inf]
    values = np.unique(np.quantile(tier.score, levels, method="higher"))
    return [math.inf, *values[::-1].tolist()]


def _wrong_by_score(tier: TierAnswers) -> np.ndarray:
    """Probability that each answer is wrong, by logistic regression on the routing score."""
    from sklearn.linear_model import LogisticRegression

    wrong, spread = ~tier.right, float(np.std(tier.score))
    if wrong.all() or not wrong.any() or not spread:
        return np.full(len(wrong), (wrong.sum() + 0.5) / (len(wrong) + 1))
    scores = ((tier.score - np.mean(tier.score)) / spread)[:, None]
    return LogisticRegression(C=100.0).fit(scores, wrong).predict_proba(scores)[:, 1]


def _count(went: np.ndarray, tiers: Sequence[TierAnswers]) -> tuple[int, int]:
    """Answers accepted, and those wrong."""
    accepted = errors = 0
    for index, tier in enumerate(tiers):
        here = went == index
        accepted += int(here.sum())
        errors += int((here & ~tier.right).sum())
    return accepted, errors


def _answer_of(went: np.ndarray, tiers: Sequence[TierAnswers]) -> np.ndarray:
    """Class of the accepted answer, empty where there is none."""
    classes = np.stack([tier.classes() for tier in tiers])
    return np.where(went == NONE, "", classes[went, np.arange(len(went))])


def frequent(tiers: Sequence[TierAnswers], fewest: int) -> list[str]:
    """Classes that the first tier answers often enough; labels are not looked at."""
    names, counts = np.unique(tiers[0].classes().astype(str), return_counts=True)
    return [str(n) for n, count in zip(names, counts, strict=True) if count >= fewest and n]


def joined(first: TierAnswers, second: TierAnswers) -> TierAnswers:
    """The answers of one tier for two lots of photos."""
    unknown = None
    if first.unknown is not None and second.unknown is not None:
        unknown = np.concatenate([first.unknown, second.unknown])
    return TierAnswers(
        first.tier,
        np.concatenate([first.score, second.score]),
        np.concatenate([first.right, second.right]),
        first.cost,
        unknown,
        first.unknown_above,
        np.concatenate([first.classes(), second.classes()]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
