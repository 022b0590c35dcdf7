"""How far a share that was counted on a few photos may be from the truth.

The photos are taken as independent. Frames of one burst are not, so a test split that is full of
bursts knows less than these intervals say.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(hits: int, n: int, confidence: float = 0.95) -> list[float] | None:
    """Score interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Unlike the share plus or minus two standard errors it stays within [0, 1], has a width where
    all or none of the photos are hits, and covers about as often as promised from few photos on.

    Args:
        hits: Photos that count, 0 to `n`.
        n: Photos.
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


def f1_interval(
    hits: int, in_vain: int, missed: int, confidence: float = 0.95
) -> list[float] | None:
    """Interval of an F1 score, which is no share of photos itself but follows from one.

    Of the photos that have the class or were said to have it, the share of hits is
    F* = hits / (hits + in_vain + missed) (Hand, Christen & Kirielle 2021, Mach. Learn. 110:451).
    F1 = 2 F* / (1 + F*) rises with it, so the ends of Wilson's interval for F* are carried over
    ("Wilson indirect" of Lam, Gopal & Qian 2023, arXiv 2309.14621).

    Args:
        hits: True positives.
        in_vain: False positives.
        missed: False negatives.
        confidence: As for `wilson`.

    Returns:
        Lower and upper end; None where no photo has the class or was said to have it.
    """
    ends = wilson(hits, hits + in_vain + missed, confidence)
    return ends and [2 * end / (1 + end) for end in ends]
