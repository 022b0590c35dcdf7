"""How often accepted answers are wrong, of two models that accept answers by rules of their own."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.comparison.paired import PairedParams
from cannabis_ml.evaluation.scores import Interval, Record


class RiskComparison(Record):
    """Accepted answers of two models on the same labelled photos; every group counts once."""

    groups: int
    champion_accepted: float = Field(description="Share of photos whose answer is accepted")
    challenger_accepted: float
    champion: float | None = Field(description="Share of accepted answers wrong; None without any")
    challenger: float | None
    difference: float | None = Field(description="Challenger less champion: above 0 is worse")
    interval: Interval | None = Field(description="Paired bootstrap over groups")


def compare_risk(
    champion: tuple[np.ndarray, np.ndarray],
    challenger: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    params: PairedParams | None = None,
) -> RiskComparison:
    """Compare error rates among accepted answers.

    Args:
        champion: Whether each answer is accepted, and whether it is right, bool (N,) each.
        challenger: The same of the other model for the same photos.
        groups: Of each photo a number or name, (N,).
        params: Confidence, and samples of the bootstrap.

    Returns:
        Error rates are ratios of sums over groups; a bootstrap sample without accepted answers
        counts as one without errors.
    """
    params = params or PairedParams()
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(which)
    columns = [
        np.bincount(which, weights=values) / sizes
        for accepted, right in (champion, challenger)
        for values in (np.asarray(accepted, bool), np.asarray(accepted, bool) & ~np.asarray(right))
    ]
    each = np.stack(columns, axis=1)  # accepted and wrong of one model, then of the other
    means = each.mean(axis=0)
    before, after = _rate(means[None, :2])[0], _rate(means[None, 2:])[0]
    difference = interval = None
    if np.isfinite(before) and np.isfinite(after):
        different, counts = np.unique(each, axis=0, return_counts=True)
        random = np.random.default_rng(params.seed)
        times = random.multinomial(len(each), counts / len(each), params.draws)
        sums = times @ different
        drawn = np.nan_to_num(_rate(sums[:, 2:])) - np.nan_to_num(_rate(sums[:, :2]))
        tail = (1 - params.confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        difference, interval = float(after - before), (float(low), float(high))
    return RiskComparison(
        groups=len(each),
        champion_accepted=float(means[0]),
        challenger_accepted=float(means[2]),
        champion=float(before) if np.isfinite(before) else None,
        challenger=float(after) if np.isfinite(after) else None,
        difference=difference,
        interval=interval,
    )


def _rate(accepted_and_wrong: np.ndarray) -> np.ndarray:
    """Wrong over accepted, (N,) of (N, 2); NaN where nothing is accepted."""
    accepted, wrong = accepted_and_wrong.T
    return np.where(accepted > 0, wrong / np.where(accepted > 0, accepted, 1), np.nan)
