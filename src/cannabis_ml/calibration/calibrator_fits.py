"""Fit calibrators by minimizing the log loss.

All problems are smooth and, but for ordinal heads, convex. Numbers that could run away where photos
are few are bounded, or drawn towards what leaves probabilities as they are; a result that is not
better than its start is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from cannabis_ml.calibration.choices import POOL_BELOW
from cannabis_ml.calibration.examples import Examples, calibrated
from cannabis_ml.evaluation.calibration_scores import log_losses
from cannabis_ml.inference.calibrators import (
    COLDEST,
    HOTTEST,
    SMALLEST,
    Affine,
    Beta,
    Isotonic,
    Ordinal,
    Platt,
    Structured,
    Temperature,
    between,
    cumulative_logits,
    logits_of,
)

_BISECTIONS = 40
_FARTHEST = 20.0
"""Slopes and shifts of logits are held within it: probabilities beyond are as good as certain."""

_FORBIDDEN = -1e9
"""Stands for log 0 where an infinity would turn a gradient into NaN."""


def fit_temperature(examples: Examples) -> Temperature:
    """Find the temperature by bisection on the gradient, from 1, within bounds.

    The log loss is convex in 1 / T, so its gradient changes sign once; descent with a fixed step,
    as first published, makes things worse on most data (Berta et al. 2025). The best value seen is
    taken. The uniform distribution is mixed in by 1 / (n + 1), as if one more photo had been seen
    with an unforeseen answer (`ts-mix` of probmetrics).
    """
    x, y, w = _scores(examples), examples.labels, _shares(examples)
    true = x[np.arange(len(y)), y]

    def at(log_inverse: float) -> tuple[float, float]:
        """Log loss, and the sign of its gradient."""
        logs = log_softmax(np.exp(log_inverse) * x, axis=1)
        mean = (np.exp(logs) * x).sum(axis=1)
        return float(-w @ logs[np.arange(len(y)), y]), float(w @ (mean - true))

    low, high = -np.log(HOTTEST), -np.log(COLDEST)
    seen = []
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2  # 0, which is T = 1, at first
        loss, slope = at(middle)
        seen.append((loss, middle))
        low, high = (low, middle) if slope > 0 else (middle, high)
    # Of values that differ by rounding only, the last is the most exact.
    loss, best = min(reversed(seen), key=lambda one: one[0])
    best = best if loss < seen[0][0] else 0.0
    temperature = float(np.clip(np.exp(-best), COLDEST, HOTTEST))
    return Temperature(temperature=temperature, smoothing=1 / (examples.group_count + 1))


def fit_structured(examples: Examples, matrix: bool) -> Structured:
    """Structured vector or matrix scaling with a ridge, on top of the temperature.

    The penalties are K / n on diagonal and bias, and K (K - 1) / n on the rest (Berta et al. 2026,
    arXiv 2511.03685, and the defaults of probmetrics), n being the groups.

    Args:
        examples: Of a multiclass head.
        matrix: Whether classes may learn from the probabilities of others: SMS instead of SVS.
    """
    first = fit_temperature(examples)
    k, n = examples.classes, examples.group_count
    x = np.log(np.maximum(calibrated(examples, first), SMALLEST))
    barred = np.zeros_like(x)
    if examples.allowed is not None:
        barred = np.where(examples.allowed, 0.0, _FORBIDDEN)
        x = np.where(examples.allowed, x, 0.0)
    y, w = examples.labels, _shares(examples)
    own, other = k / n, k * (k - 1) / n
    off = ~np.eye(k, dtype=bool)

    def parts(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        others = np.zeros((k, k))
        if matrix:
            others[off] = theta[2 * k :]
        return theta[:k], theta[k : 2 * k], others

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        diagonal, bias, others = parts(theta)
        z = x * (1 + diagonal) + bias + barred
        if matrix:
            z = z + x @ others.T
        logs = log_softmax(z, axis=1)
        apart = np.exp(logs)
        apart[np.arange(len(y)), y] -= 1
        apart *= w[:, None]
        value = -w @ logs[np.arange(len(y)), y]
        value += own * (diagonal @ diagonal + bias @ bias) + other * (others**2).sum()
        slopes = [(apart * x).sum(axis=0) + 2 * own * diagonal, apart.sum(axis=0) + 2 * own * bias]
        if matrix:
            slopes.append((apart.T @ x + 2 * other * others)[off])
        return float(value), np.concatenate(slopes)

    theta = _minimum(loss, np.zeros(2 * k + (k * (k - 1) if matrix else 0)))
    diagonal, bias, others = parts(theta)
    return Structured(
        temperature=first.temperature,
        smoothing=first.smoothing,
        diagonal=tuple((1 + diagonal).tolist()),
        bias=tuple(bias.tolist()),
        others=tuple(tuple(row) for row in others.tolist()) if matrix else None,
    )


def fit_platt(examples: Examples) -> Platt:
    """Logistic regression of being right on the logit of the confidence.

    Targets are those of Platt 1999: not 1 and 0 but what one more photo of each kind would make of
    them, so that all answers being right does not make them certain.
    """
    logit, right, weight = _confidences(examples)
    features = np.stack([logit, np.ones_like(logit)], axis=1)
    slope, shift = _logistic(
        features, _targets(right, weight), weight, [(0, _FARTHEST), (-_FARTHEST, _FARTHEST)]
    )
    return Platt(slope=slope, shift=shift)


def fit_beta(examples: Examples) -> Beta:
    """Beta calibration of the confidence, with Platt's targets."""
    logit, right, weight = _confidences(examples)
    features = np.stack(
        [-np.logaddexp(0, -logit), np.logaddexp(0, logit), np.ones_like(logit)], axis=1
    )
    bounds = [(0, _FARTHEST), (0, _FARTHEST), (-_FARTHEST, _FARTHEST)]
    a, b, shift = _logistic(features, _targets(right, weight), weight, bounds)
    return Beta(a=a, b=b, shift=shift)


def fit_isotonic(examples: Examples) -> Isotonic:
    """Isotonic regression of being right on the confidence; one half is mixed in by 1 / (n + 1)."""
    from sklearn.isotonic import IsotonicRegression

    logit, right, weight = _confidences(examples)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(expit(logit), right, sample_weight=weight)
    return Isotonic(
        confidence=tuple(fitted.X_thresholds_.tolist()),
        right=tuple(np.maximum.accumulate(fitted.y_thresholds_).tolist()),
        smoothing=1 / (examples.group_count + 1),
    )


def fit_ordinal(examples: Examples, shifts: str) -> Ordinal:
    """Scale the logits of "worse than k", and shift them.

    Args:
        examples: Of an ordinal head.
        shifts: `none`; `one` for all k; or `each`, its own for each k, falling, all drawn towards
            0 by a ridge of K / n.
    """
    x = cumulative_logits(examples.probs)
    count, k, n = x.shape[1], examples.classes, examples.group_count
    free = {"none": 0, "one": 1, "each": count}[shifts]
    y, w = examples.labels, _shares(examples)
    rows = np.arange(len(y))
    allowed = np.ones_like(examples.probs, bool) if examples.allowed is None else examples.allowed
    # Shift k is the first less what each step down to k takes off.
    steps = np.tril(np.ones((count, count)))
    steps[:, 1:] *= -1
    steps = steps[:, :free] if free else np.zeros((count, 0))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        shift = steps @ theta[1:]
        z = theta[0] * x + shift
        spread = expit(z) * expit(-z)
        p = np.maximum(between(z), SMALLEST)
        total = (p * allowed).sum(axis=1)
        value = w @ (np.log(total) - np.log(p[rows, y])) + k / n * (shift @ shift)
        by_class = allowed / total[:, None]
        by_class[rows, y] -= 1 / p[rows, y]
        by_logit = np.diff(by_class, axis=1) * spread * w[:, None]
        by_shift = by_logit.sum(axis=0) + 2 * k / n * shift
        slopes = np.concatenate([[(by_logit * x).sum()], by_shift @ steps])
        return float(value), slopes

    bounds = [(1 / HOTTEST, 1 / COLDEST)] + [(-_FARTHEST, _FARTHEST)] * min(free, 1)
    bounds += [(0.0, _FARTHEST)] * max(free - 1, 0)
    theta = _minimum(loss, np.array([1.0] + [0.0] * free), bounds)
    return Ordinal(
        scale=float(theta[0]),
        shifts=tuple(np.minimum.accumulate(steps @ theta[1:]).tolist()),
        smoothing=1 / (n + 1),
    )


def fit_affine(examples: Examples, pooled: bool, pool_below: int = POOL_BELOW) -> Affine:
    """Scale and shift the logit of each attribute, drawn towards leaving it as it is.

    The prior weighs as one photo would: on the sum of the log losses it is (slope - 1)² + shift².

    Args:
        examples: Of a multilabel head.
        pooled: Whether all attributes share one slope and one shift.
        pool_below: Attributes that fewer photos have, or lack, share one slope and one shift with
            each other.
    """
    logits, labels = logits_of(examples.probs), examples.labels
    weight = np.broadcast_to(examples.weights[:, None], labels.shape)
    have = (weight * (labels == 1)).sum(axis=0)
    lack = (weight * (labels == 0)).sum(axis=0)
    together = np.minimum(have, lack) < pool_below
    if pooled:
        together[:] = True
    slopes, shifts = np.ones(examples.classes), np.zeros(examples.classes)
    sets = [together] + [np.arange(examples.classes) == k for k in np.flatnonzero(~together)]
    for which in sets:
        known = ~np.isnan(labels[:, which])
        if known.any():
            x = logits[:, which][known]
            coefficients = _logistic(
                np.stack([x, np.ones_like(x)], axis=1),
                labels[:, which][known],
                weight[:, which][known],
                [(0, _FARTHEST), (-_FARTHEST, _FARTHEST)],
                prior=np.array([1.0, 0.0]),
            )
            slopes[which], shifts[which] = coefficients
    return Affine(slopes=tuple(slopes.tolist()), shifts=tuple(shifts.tolist()))


def _scores(examples: Examples) -> np.ndarray:
    """Logarithms of the probabilities; what is not allowed far below all others."""
    x = np.log(np.maximum(examples.probs, SMALLEST))
    return x if examples.allowed is None else np.where(examples.allowed, x, _FORBIDDEN)


def _shares(examples: Examples) -> np.ndarray:
    """Weights that sum to 1."""
    weights = examples.weights
    return weights / weights.sum()


def _confidences(examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logit of the highest probability, whether that class is right, and weights.

    Without photos that have a single class to choose from: these are right for sure.
    """
    logs = log_softmax(_scores(examples), axis=1)
    top = logs.argmax(axis=1)
    rows = np.arange(len(top))
    own = logs[rows, top]
    others = np.exp(logs)
    others[rows, top] = 0
    rest = others.sum(axis=1)
    open_ = rest > 0
    logit = own[open_] - np.log(rest[open_])
    return logit, (top == examples.labels)[open_].astype(np.float64), examples.weights[open_]


def _targets(right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    positives, negatives = weight @ right, weight @ (1 - right)
    return np.where(right == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _logistic(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    bounds: Sequence[tuple[float, float]],
    prior: np.ndarray | None = None,
) -> list[float]:
    """Coefficients within bounds; with a prior, drawn towards it as by one photo.

    Without a prior the start, which decides where there is no photo, takes confidence as it is.
    """
    start = np.zeros(features.shape[1])
    start[0] = 1.0
    if features.shape[1] == 3:
        start[1] = 1.0
    if not len(features):
        return list(start.tolist())
    total = weights.sum()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ theta
        value = weights @ (np.logaddexp(0, z) - targets * z)
        slope = features.T @ (weights * (expit(z) - targets))
        if prior is not None:
            value += ((theta - prior) ** 2).sum()
            slope = slope + 2 * (theta - prior)
        return float(value / total), slope / total

    return list(_minimum(loss, start, bounds).tolist())


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    bounds: Sequence[tuple[float, float]] | None = None,
) -> np.ndarray:
    """Where a loss with its gradient is lowest; the start where nothing lower was found."""
    options = {"maxiter": 1000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-9}
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    better = np.isfinite(solution.x).all() and solution.fun < loss(start)[0]
    return solution.x if better else start


def mean_log_loss(examples: Examples, probs: np.ndarray) -> float:
    """In nats; a group counts as one photo."""
    return float(_shares(examples) @ log_losses(probs, examples.labels))
