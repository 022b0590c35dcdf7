"""Confidence scores: numbers that rank answers from likely wrong to likely right.

They order photos, for routing and for what to label next. None but `max_probability` is a
probability, and calibration changes their order little: choose one by how well it ranks errors
(`evaluation.ranking`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np

from cannabis_ml.inference.decision import SMALLEST
from cannabis_ml.taxonomy import Head

ScoreName = Literal["max_probability", "margin", "p_norm", "entropy", "agreement"]

P_NORM = 4
"""Order of the norm where none was chosen on data."""


def max_probability(probs: np.ndarray) -> np.ndarray:
    """Of the most probable class.

    Args:
        probs: (..., K), rows sum to 1.

    Returns:
        (...), in [1 / K, 1].
    """
    return np.asarray(probs, np.float64).max(axis=-1)


def margin(probs: np.ndarray) -> np.ndarray:
    """Of the most probable class over the second.

    Args:
        probs: (..., K), rows sum to 1, K at least 2.

    Returns:
        (...), in [0, 1].
    """
    first_two = np.partition(np.asarray(probs, np.float64), -2, axis=-1)[..., -2:]
    return first_two[..., 1] - first_two[..., 0]


def entropy(probs: np.ndarray) -> np.ndarray:
    """Negative entropy in nats, so that surer answers have more.

    Args:
        probs: (..., K), rows sum to 1.

    Returns:
        (...), in [-log K, 0].
    """
    probs = np.asarray(probs, np.float64)
    return (probs * np.log(np.maximum(probs, SMALLEST))).sum(axis=-1)


def p_norm(probs: np.ndarray, p: float = P_NORM) -> np.ndarray:
    """Largest centred logit over the p-norm of all of them (Cattelan & Silva 2024, UAI).

    It repairs much of what label smoothing does to the order of confidences. Centred logits are
    centred log-probabilities, so probabilities are enough. Of two classes it is constant.

    Args:
        probs: (..., K), rows sum to 1.
        p: Order of the norm, above 0.

    Returns:
        (...), in [0, 1]; 0 where all classes are equally probable.
    """
    logits = np.log(np.maximum(np.asarray(probs, np.float64), SMALLEST))
    logits = logits - logits.mean(axis=-1, keepdims=True)
    largest = np.abs(logits).max(axis=-1, keepdims=True)
    # Scaled by the largest first: high powers of logits would overflow.
    scaled = logits / np.where(largest > 0, largest, 1.0)
    norm = (np.abs(scaled) ** p).sum(axis=-1) ** (1 / p)
    return scaled.max(axis=-1) / np.where(norm > 0, norm, 1.0)


_SCORES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_probability": max_probability,
    "margin": margin,
    "p_norm": p_norm,
    "entropy": entropy,
}

SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
"""In the order in which ties between them are broken: the simplest first."""


def confidence_scores(
    head: Head, probs: np.ndarray, uncertainty: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every confidence score of one head.

    Args:
        head: Its kind decides what a row of `probs` means.
        probs: (N, K) as the model gives them.
        uncertainty: (N,), the members' disagreement in nats, where the model gives it.

    Returns:
        By name float64, higher is surer. Multiclass and ordinal: (N,). Multilabel: (N, K), each
        attribute a question of its own; without `p_norm`, constant there, and without `agreement`,
        which is known of the head as a whole only.
    """
    if head.kind == "multilabel":
        present = np.asarray(probs, np.float64)
        pairs = np.stack([1 - present, present], axis=-1)
        return {name: of(pairs) for name, of in _SCORES.items() if name != "p_norm"}
    scores = {name: of(probs) for name, of in _SCORES.items()}
    if uncertainty is not None:
        scores["agreement"] = -np.asarray(uncertainty, np.float64)
    return scores
