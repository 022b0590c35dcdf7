"""Paired differences of two models on the same photos, over groups of near-duplicates.

Photos of one group are right or wrong together, so a group counts once: by the mean over it.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.evaluation.scores import Interval, Record

_HAIR = 1e-12


class PairedParams(BaseModel):
    """How sure a paired comparison is to be, and how it is resampled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Of intervals, and of one-sided bounds"
    )
    draws: int = Field(default=2000, ge=100, description="Bootstrap samples of groups")
    seed: int = Field(default=0, ge=0, description="Of the bootstrap")


class PairedDifference(Record):
    """Mean score of two models on the same photos; every group counts once."""

    photos: int
    groups: int
    champion: float = Field(description="Mean score, in [0, 1]")
    challenger: float = Field(description="Mean score, in [0, 1]")
    difference: float = Field(description="Challenger less champion")
    interval: Interval = Field(description="Of the difference, paired bootstrap over groups")
    lower: float = Field(
        description="One-sided lower bound of the difference: the lower of the bootstrap's and of"
        " the score interval of Tango 1998"
    )
    lost: int = Field(description="Groups on which the challenger is worse")
    won: int = Field(description="Groups on which it is better")
    p_worse: float = Field(
        description="One-sided p-value that the challenger is worse: McNemar's exact test, over"
        " groups by the sign of their change"
    )

    def not_inferior(self, margin: float) -> bool:
        """Whether the challenger is shown to be worse by no more than a margin."""
        return self.lower >= -margin


def paired_difference(
    champion: np.ndarray,
    challenger: np.ndarray,
    groups: np.ndarray,
    params: PairedParams | None = None,
) -> PairedDifference | None:
    """Compare two models photo by photo.

    Args:
        champion: Its score of each photo, float (N,) in [0, 1], such as 1 where it is right; NaN
            where there is no label.
        challenger: The same of the other model.
        groups: Of each photo a number or name, (N,).
        params: Confidence, and samples of the bootstrap.

    Returns:
        The comparison on the photos that both have a score of; None where there is none.
    """
    params = params or PairedParams()
    champion, challenger = np.asarray(champion, float), np.asarray(challenger, float)
    known = ~(np.isnan(champion) | np.isnan(challenger))
    if not known.any():
        return None
    _, which = np.unique(np.asarray(groups)[known], return_inverse=True)
    sizes = np.bincount(which)
    before, after = (
        np.bincount(which, weights=scores[known]) / sizes for scores in (champion, challenger)
    )
    changes = after - before
    changes[np.abs(changes) < _HAIR] = 0.0
    lost, won = int((changes < 0).sum()), int((changes > 0).sum())
    tail = 1 - params.confidence
    samples = bootstrap_means(changes, params.draws, params.seed)
    low, high, lower = np.quantile(samples, [tail / 2, 1 - tail / 2, tail])
    # Tango's bound is on shares of groups; a group of several photos may change in part.
    step = float(np.abs(changes[changes != 0]).mean()) if lost + won else 1.0
    by_score = step * tango_interval(lost, won, len(changes), 1 - 2 * tail)[0]
    return PairedDifference(
        photos=int(known.sum()),
        groups=len(changes),
        champion=float(before.mean()),
        challenger=float(after.mean()),
        difference=float(changes.mean()),
        interval=(float(low), float(high)),
        lower=min(float(lower), by_score),
        lost=lost,
        won=won,
        p_worse=mcnemar_worse(lost, won),
    )


def bootstrap_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of bootstrap samples of values, float64 (draws,).

    Equal values are drawn together, by a multinomial: the same distribution as drawing them one by
    one, in memory of the number of different values.
    """
    different, counts = np.unique(values, return_counts=True)
    random = np.random.default_rng(seed)
    times = random.multinomial(len(values), counts / len(values), draws)
    return times @ different / len(values)


def mcnemar_worse(lost: int, won: int) -> float:
    """p-value of McNemar's exact test against "as many won as lost", one-sided: more are lost."""
    from scipy.stats import binom

    return float(binom.sf(lost - 1, lost + won, 0.5)) if lost + won else 1.0


def tango_interval(lost: int, won: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of the difference of two paired shares (Tango 1998, Stat. Med. 17:891).

    Unlike the bootstrap it has a width where no pair or few pairs differ.

    Args:
        lost: Pairs where the first is right alone.
        won: Pairs where the second is right alone.
        n: All pairs, at least one.
        confidence: How often such an interval holds the true difference, in (0, 1).

    Returns:
        Lower and upper end of P(second right) - P(first right), within [-1, 1].
    """
    from scipy.optimize import brentq

    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def score(difference: float) -> float:
        return _tango_score(difference, lost, won, n)

    estimate = (won - lost) / n
    edge = 1 - 1e-9
    low = high = estimate
    if estimate > -edge and score(-edge) > z:
        low = float(brentq(lambda d: score(d) - z, -edge, estimate, xtol=1e-10))
    else:
        low = -1.0
    if estimate < edge and score(edge) < -z:
        high = float(brentq(lambda d: score(d) + z, estimate, edge, xtol=1e-10))
    else:
        high = 1.0
    return low, high


def _tango_score(difference: float, lost: int, won: int, n: int) -> float:
    """Equation 2 and the restricted maximum likelihood estimate of the share lost."""
    a = 2 * n
    b = -won - lost + (2 * n - won + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * share + difference * (1 - difference))
    gap = won - lost - n * difference
    if variance <= 0:
        return 0.0 if abs(gap) < _HAIR else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def groups_needed(paired: PairedDifference, margin: float, confidence: float) -> int | None:
    """About how many groups would show that a challenger like this is not inferior.

    Args:
        paired: The difference measured on fewer.
        margin: By how much it may be worse.
        confidence: Of the bound.

    Returns:
        None where more photos like these would not show it: the estimate is beyond the margin.
    """
    room = paired.difference + margin
    if room <= 0:
        return None
    n = paired.groups
    # The variance of one group's change; with no change seen, as if one in n + 2 had changed.
    spread = max((paired.lost + paired.won) / n - paired.difference**2, 1 / (n + 2))
    z = NormalDist().inv_cdf(confidence)
    return max(n + 1, math.ceil(spread * (z / room) ** 2))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for there being several of them (Holm 1979, Scand. J. Stat. 6:65)."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    in_order = np.empty_like(adjusted)
    in_order[order] = adjusted
    return in_order
