"""How far a share that was counted on a few photos may be from the truth.

Frames of one burst, or photos of one plant, are right or wrong together: 84 photos in 8 groups know
far less than 84 photos of 84 plants. So `by_groups` asks how many independent photos would know as
much, and takes the interval of so many. `wilson` by itself takes all photos as independent.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

PRIOR_GROUPS = 1
"""What is believed before any group was seen, photos of a group being as one, weighs as much as
so many groups. It decides where all photos are hits: nothing there tells how they hang together."""


def by_groups(hits: np.ndarray, groups: np.ndarray, confidence: float = 0.95) -> list[float] | None:
    """Interval of a share of photos that come in groups: Wilson's, of the effective number.

    Where every photo is a group of its own it is `wilson`, exactly.

    Args:
        hits: Whether a photo counts, bool (N,).
        groups: Of each photo a number or name, (N,).
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where there is no photo.
    """
    n = effective_photos(hits, groups, confidence)
    return wilson(float(np.mean(hits)) * n, n, confidence) if n else None


def effective_photos(hits: np.ndarray, groups: np.ndarray, confidence: float = 0.95) -> float:
    """How many independent photos would know as much of a share as these do.

    N over the design effect (Kish 1965), which is estimated from how much the groups differ, by
    linearisation as in Korn & Graubard 1998 (Survey Methodology 24:193), with their correction for
    the degrees of freedom, groups less one; of the intervals that follow from it, Wilson's is among
    the best (Franco et al. 2019, J. Surv. Stat. Methodol. 7:334). With few groups, or few that hold
    a miss, the estimate is often far too low, so it is drawn towards the largest design effect
    there can be, that of photos that say all the same within a group; see `PRIOR_GROUPS`.

    Args:
        hits: As for `by_groups`.
        groups: As for `by_groups`.
        confidence: As for `wilson`.

    Returns:
        From Kish's N² / Σ n², the number of groups where these are of one size n, to N.
    """
    from scipy.stats import t as student

    n = len(hits)
    _, which = np.unique(groups, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    found = len(sizes)
    if found == n:
        return float(n)
    most = float((sizes**2).sum() / n)
    right = np.bincount(which, weights=hits)
    share = float(right.sum() / n)
    told = int(min((right > 0).sum(), (right < sizes).sum())) if found > 1 else 0
    effect = 1.0
    if told:
        variance = found / (found - 1) * float(((right - share * sizes) ** 2).sum()) / n**2
        effect = variance * (n - 1) / (share * (1 - share))
        tail = (1 + confidence) / 2
        effect *= float((student.ppf(tail, found - 1) / student.ppf(tail, n - 1)) ** 2)
    effect = (told * effect + PRIOR_GROUPS * most) / (told + PRIOR_GROUPS)
    return n / min(max(effect, 1.0), most)


def wilson(hits: float, n: float, confidence: float = 0.95) -> list[float] | None:
    """Score interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Unlike the share plus or minus two standard errors it stays within [0, 1], has a width where
    all or none of the photos are hits, and covers about as often as promised from few photos on.

    Args:
        hits: Photos that count, 0 to `n`; need not be whole.
        n: Photos that are independent of each other, or as many as they are worth.
        confidence: How often such an interval holds the true share, in (0, 1).

    Returns:
        Lower and upper end; None where `n` is 0.
    """
    if n == 0:
        return None
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (hits + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (hits * (n - hits) / n + z2 / 4)) / (n + z2)
    # Both ends are exact in these cases; floating point is not.
    return [
        0.0 if hits == 0 else max(0.0, centre - half),
        1.0 if hits == n else min(1.0, centre + half),
    ]


def f1_by_groups(
    hits: np.ndarray, involved: np.ndarray, groups: np.ndarray, confidence: float = 0.95
) -> list[float] | None:
    """Interval of an F1 score, which is not a share of photos itself but follows from one.

    Of the photos that have the class or were said to have it, the share of hits is
    F* = hits / (hits + in vain + missed) (Hand, Christen & Kirielle 2021, Mach. Learn. 110:451).
    F1 = 2 F* / (1 + F*) rises with it, so the ends of the interval for F* are carried over
    ("Wilson indirect" of Lam, Gopal & Qian 2023, arXiv 2309.14621).

    Args:
        hits: Photos that have the class and were said to, bool (N,).
        involved: Photos that have it or were said to, bool (N,).
        groups: As for `by_groups`.
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where no photo has the class or was said to have it.
    """
    ends = by_groups(hits[involved], groups[involved], confidence)
    return ends and [2 * end / (1 + end) for end in ends]
