"""How well a confidence ranks right answers above wrong ones: risk-coverage curves and their areas.

Selective prediction: of N answers only the surest are accepted. Coverage is the share accepted,
selective risk the share wrong among these, generalized risk the share of all N that is accepted and
wrong. Answers of equal confidence are accepted together, or, where a curve passes through them, in
random order: every figure is the mean over such orders, so none hangs on the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cannabis_ml.evaluation.groups import Bootstrap, group_samples, percentile_interval
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.inference.confidence import p_norm

COVERAGES = (0.6, 0.8, 1.0)
"""Coverages at which accuracy is reported."""

_BOOTSTRAP = Bootstrap()


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk and coverage at each confidence threshold.

    One entry per distinct confidence, from the highest: accepting all answers that are at least
    so confident.

    Attributes:
        threshold: The confidence, float64 (D,).
        coverage: Share of answers accepted, in (0, 1], float64 (D,).
        risk: Share wrong among those, float64 (D,).
        generalized_risk: Share of all answers that is accepted and wrong, float64 (D,).
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    generalized_risk: np.ndarray


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """The risk-coverage curve.

    Args:
        confidence: (N,), higher is surer, finite.
        right: Whether the answers are right, bool (N,).

    Raises:
        ValueError: If there is no answer, or a confidence is NaN.
    """
    values, sizes, wrong = _blocks(confidence, right)
    accepted, errors = sizes.cumsum(), wrong.cumsum()
    n = accepted[-1]
    return RiskCoverage(values, accepted / n, errors / accepted, errors / n)


def aurc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean selective risk at coverages 1/N, 2/N, …, 1.

    Args:
        confidence: As for `risk_coverage`.
        right: As for `risk_coverage`.

    Returns:
        In [0, 1], lower is better. It weighs errors among the surest answers most, and mixes
        accuracy with ranking.
    """
    errors = _expected_errors(confidence, right)
    return float((errors / np.arange(1, len(errors) + 1)).mean())


def augrc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the generalized-risk-coverage curve (Traub et al., NeurIPS 2024).

    The mean share of answers that are wrong and accepted, over all coverages. With accuracy a and
    AUROC A of right against wrong it is (1 - A) a (1 - a) + (1 - a)² / 2.

    Args:
        confidence: As for `risk_coverage`.
        right: As for `risk_coverage`.

    Returns:
        In [0, 1/2], lower is better.
    """
    curve = risk_coverage(confidence, right)
    coverage = np.concatenate([[0.0], curve.coverage])
    risk = np.concatenate([[0.0], curve.generalized_risk])
    return float(np.trapezoid(risk, coverage))


def auroc(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Probability that a right answer has a higher confidence than a wrong one; ties count half.

    Args:
        confidence: As for `risk_coverage`.
        right: As for `risk_coverage`.

    Returns:
        In [0, 1]; None where all answers are right, or all wrong.
    """
    _, sizes, wrong = _blocks(confidence, right)
    good = sizes - wrong
    pairs = good.sum() * wrong.sum()
    if not pairs:
        return None
    surer = good.cumsum() - good / 2
    return float((wrong * surer).sum() / pairs)


def accuracy_at(confidence: np.ndarray, right: np.ndarray, coverage: float) -> float:
    """Share right among the surest answers.

    Args:
        confidence: As for `risk_coverage`.
        right: As for `risk_coverage`.
        coverage: Share of answers accepted, in (0, 1], rounded up to a whole answer.

    Returns:
        In [0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"A coverage of {coverage} is not in (0, 1].")
    errors = _expected_errors(confidence, right)
    # 0.6 of 5 is a hair above 3 in floating point.
    accepted = max(1, int(np.ceil(coverage * len(errors) - 1e-9)))
    return float(1 - errors[accepted - 1] / accepted)


def score_ranking(
    scores: Mapping[str, np.ndarray],
    right: np.ndarray,
    groups: np.ndarray,
    *,
    coverages: Sequence[float] = COVERAGES,
    bootstrap: Bootstrap = _BOOTSTRAP,
) -> dict[str, object]:
    """How well each confidence score ranks the answers of one head.

    Args:
        scores: By name confidences (N,), as from `inference.confidence.confidence_scores`.
        right: As for `risk_coverage`.
        groups: Of each photo a number or name, (N,); photos of a group are right or wrong together.
        coverages: At which accuracy is reported.
        bootstrap: Samples of groups behind the intervals; the same samples serve all scores.

    Returns:
        JSON-able: `n`, `groups`, `accuracy` with `accuracy_interval`, `best` (the name with the
        lowest AUGRC, the first of `scores` where several have it), and `scores`: by name `augrc`,
        `aurc`, `auroc`, `accuracy_at` (by coverage, such as `"0.8"`), `augrc_interval` and
        `augrc_above_best_interval`, the 95% interval of how much worse than `best` the score is;
        one that holds 0 means that these photos do not separate the two.

    Raises:
        ValueError: If there is no answer, or a confidence is NaN.
    """
    right, groups = np.asarray(right, bool), np.asarray(groups)
    areas = {name: augrc(confidence, right) for name, confidence in scores.items()}
    best = min(areas, key=lambda name: areas[name])
    samples = list(group_samples(groups, *bootstrap))
    drawn = {
        name: np.array([augrc(confidence[rows], right[rows]) for rows in samples])
        for name, confidence in scores.items()
    }
    return {
        "n": len(right),
        "groups": len(np.unique(groups)),
        "accuracy": float(right.mean()),
        "accuracy_interval": by_groups(right, groups),
        "best": best,
        "scores": {
            name: {
                "augrc": areas[name],
                "aurc": aurc(confidence, right),
                "auroc": auroc(confidence, right),
                "accuracy_at": {
                    f"{share:g}": accuracy_at(confidence, right, share) for share in coverages
                },
                "augrc_interval": percentile_interval(drawn[name]),
                "augrc_above_best_interval": percentile_interval(drawn[name] - drawn[best]),
            }
            for name, confidence in scores.items()
        },
    }


def best_p_norm(
    probs: np.ndarray, right: np.ndarray, orders: Sequence[float] = (1, 2, 3, 4, 5, 6, 8, 10)
) -> float:
    """The order of `inference.confidence.p_norm` that ranks best, the smallest of equals.

    Args:
        probs: (N, K) of one multiclass head, of photos that are not scored afterwards.
        right: As for `risk_coverage`.
        orders: Candidates.
    """
    return min(sorted(orders), key=lambda order: augrc(p_norm(probs, order), right))


def _blocks(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct confidences from the highest, with how many answers each has and how many wrong."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"Confidences {confidence.shape} are not of answers {right.shape}.")
    if not len(right):
        raise ValueError("There is no answer to rank.")
    if np.isnan(confidence).any():
        raise ValueError(f"{np.isnan(confidence).sum()} of {len(right)} confidences are NaN.")
    values, which = np.unique(-confidence, return_inverse=True)
    return -values, np.bincount(which), np.bincount(which, weights=~right)


def _expected_errors(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many of the 1, 2, …, N surest answers are wrong, (N,); within ties the mean."""
    _, sizes, wrong = _blocks(confidence, right)
    return np.repeat(wrong / sizes, sizes).cumsum()
