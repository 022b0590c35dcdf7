"""Confidence intervals of shares of photos, where photos come in groups.

Frames of one burst, or photos of one plant, are right or wrong together: 84 photos in 8 groups
carry far less information than 84 photos of 84 plants. So `by_groups` computes the effective number
of independent photos, and takes the interval of so many. `wilson` by itself takes all photos as
independent.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

PRIOR_GROUPS = 1
"""Weight, in groups, of the prior that photos of a group are all alike. It decides where all photos
count: nothing there shows how they correlate."""


def by_groups(
    successes: np.ndarray, groups: np.ndarray, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Wilson's interval of a share of photos that come in groups, of their effective number.

    Where every photo is a group of its own it is `wilson`, exactly.

    Args:
        successes: Whether a photo counts, bool (N,).
        groups: Of each photo a number or name, (N,).
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where there is no photo.
    """
    n = effective_photos(successes, groups, confidence)
    return wilson(float(np.mean(successes)) * n, n, confidence) if n else None


def effective_photos(successes: np.ndarray, groups: np.ndarray, confidence: float = 0.95) -> float:
    """Effective number of photos: the number of independent ones with the same standard error.

    N over the design effect (Kish 1965), which is estimated from how much the groups differ, by
    linearisation as in Korn & Graubard 1998 (Survey Methodology 24:193), with their correction for
    the degrees of freedom, groups less one; of the intervals that follow from it, Wilson's is among
    the best (Franco et al. 2019, J. Surv. Stat. Methodol. 7:334). With few groups, or few that hold
    a miss, the estimate is often far too low, so it is drawn towards the largest design effect
    there can be, that of photos that are all alike within a group; see `PRIOR_GROUPS`.

    Args:
        successes: As for `by_groups`.
        groups: As for `by_groups`.
        confidence: As for `wilson`.

    Returns:
        From Kish's N² / Σ n², the number of groups where these are of one size n, to N.
    """
    from scipy.stats import t as student

    n = len(successes)
    _, which = np.unique(groups, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    count = len(sizes)
    if count == n:
        return float(n)
    most = float((sizes**2).sum() / n)
    right = np.bincount(which, weights=successes)
    share = float(right.sum() / n)
    varied = int(min((right > 0).sum(), (right < sizes).sum())) if count > 1 else 0
    effect = 1.0
    if varied:
        variance = count / (count - 1) * float(((right - share * sizes) ** 2).sum()) / n**2
        effect = variance * (n - 1) / (share * (1 - share))
        tail = (1 + confidence) / 2
        effect *= float((student.ppf(tail, count - 1) / student.ppf(tail, n - 1)) ** 2)
    effect = (varied * effect + PRIOR_GROUPS * most) / (varied + PRIOR_GROUPS)
    return n / min(max(effect, 1.0), most)


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Score interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Unlike the share plus or minus two standard errors it stays within [0, 1], has a width where
    all or none of the photos count, and covers about as often as promised from few photos on.
    In closed form, as an effective number need not be whole: `scipy.stats.binomtest`, which gives
    the same, takes whole numbers only.

    Args:
        successes: Photos that count, 0 to `n`; need not be whole.
        n: Photos that are independent of each other, or the effective number.
        confidence: How often such an interval holds the true share, in (0, 1).

    Returns:
        Lower and upper end; None where `n` is 0.
    """
    if n == 0:
        return None
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    center = (successes + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (successes * (n - successes) / n + z2 / 4)) / (n + z2)
    # Both ends are exact in these cases; floating point is not.
    return (
        0.0 if successes == 0 else max(0.0, center - half),
        1.0 if successes == n else min(1.0, center + half),
    )


def exact(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of a share that holds it at least as often as promised (Clopper & Pearson 1934).

    Wider than `wilson`, whose single ends err more often than promised near 0 and 1: the one to
    act on where few photos must not raise an alarm.

    Args:
        successes: As for `wilson`.
        n: As for `wilson`.
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where `n` is 0.
    """
    from scipy.stats import beta

    if n == 0:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes >= n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high


def difference(
    share: float, ends: tuple[float, float], other: float, other_ends: tuple[float, float]
) -> tuple[float, float]:
    """Interval of the difference of two independent estimates, from the interval of each.

    The square-and-add limits of Newcombe 1998 (Stat. Med. 17:873, method 10, for Wilson's
    intervals), which hold for any two estimates (MOVER; Zou & Donner 2008, Stat. Med. 27:1693).

    Args:
        share: The first estimate.
        ends: Lower and upper end of its interval.
        other: The second, which is subtracted.
        other_ends: Of its interval, of the same confidence.

    Returns:
        Lower and upper end of `share - other`.
    """
    gap = share - other
    return (
        gap - math.hypot(share - ends[0], other_ends[1] - other),
        gap + math.hypot(ends[1] - share, other - other_ends[0]),
    )


def f1_by_groups(
    true_positives: np.ndarray,
    involved: np.ndarray,
    groups: np.ndarray,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Interval of an F1 score, which is not a share of photos itself but follows from one.

    F* = TP / (TP + FP + FN) is a share (Hand, Christen & Kirielle 2021, Mach. Learn. 110:451).
    F1 = 2 F* / (1 + F*) rises with it, so the ends of the interval for F* are carried over
    ("Wilson indirect" of Lam, Gopal & Qian 2023, arXiv 2309.14621).

    Args:
        true_positives: Photos that have the class and were predicted to, bool (N,).
        involved: Photos that have it or were predicted to, bool (N,).
        groups: As for `by_groups`.
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where no photo has the class or was predicted to.
    """
    ends = by_groups(true_positives[involved], groups[involved], confidence)
    return ends and (2 * ends[0] / (1 + ends[0]), 2 * ends[1] / (1 + ends[1]))
