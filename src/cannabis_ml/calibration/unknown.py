"""Fitting unknown scores, and choosing one by how well it separates known from unknown photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cannabis_ml.calibration.quantile import conformal_quantile
from cannabis_ml.evaluation.groups import group_samples, percentile_interval
from cannabis_ml.evaluation.ranking import auroc
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.inference.unknown import METHODS, Method, UnknownScore, l2_normalized
from cannabis_ml.taxonomy import MISSING

KEPT = 0.95
"""Share of known photos that is not called unknown."""

NEIGHBORS = 10
BANK = 2000
"""Training photos kept for nearest neighbors."""

DIRECTIONS = 256
"""Principal directions that a covariance keeps; the others share one variance."""

GAMMA, LARGEST = 0.1, 100
"""Of GEN, as its paper recommends."""

DEFAULT: tuple[Method, ...] = ("relative_mahalanobis", "max_probability")
"""Taken, the first that could be fitted, where there are no unknown photos to choose by."""


Distance = Literal["near", "far"]

REPEATS = 200
"""Bootstrap samples behind intervals and standard errors."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The layer that makes logits of the embedding, where a network has such a layer.

    With several members take the means of their weights and biases. A head with a hidden layer has
    none, and then energy, NCI and fDBD are not candidates.

    Attributes:
        weight: (K, F).
        bias: (K,).
    """

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Separation:
    """How well an unknown score separates unknown photos from known ones.

    Attributes:
        near: AUROC of near against known photos; None without such photos, as with `far`.
        near_interval: Of its bootstrap samples.
        far: AUROC of far against known photos.
        far_interval: Of its bootstrap samples.
        mean: Of those AUROC that there are.
        bytes: Size of the score.
    """

    near: float | None
    near_interval: list[float] | None
    far: float | None
    far_interval: list[float] | None
    mean: float | None
    bytes: int


@dataclass(frozen=True)
class UnknownChoice:
    """Which unknown score serves a tier best.

    Attributes:
        method: The one to take.
        because: Why, in a sentence.
        table: By candidate, how well it separates unknown photos from known ones.
    """

    method: Method
    because: str
    table: dict[Method, Separation]


def fit_unknown(
    method: Method,
    head: str,
    outputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    linear: LinearHead | None = None,
    alpha: float = 0.0,
    seed: int = 0,
) -> UnknownScore:
    """Fit one score, without a threshold.

    Args:
        method: Which.
        head: Multiclass or ordinal head whose classes and probabilities count.
        outputs: Of the model file that ships, for training photos: `embedding` (N, F).
        labels: Class indices of that head, int64 (N,), `MISSING` where unknown.
        linear: Needed for energy, NCI and fDBD.
        alpha: Weight of the features' length in NCI, 0 or more.
        seed: Of the photos that nearest neighbors keep.

    Raises:
        ValueError: If there are too few photos, or no linear head where one is needed.
    """
    if method == "max_probability":
        return UnknownScore(method, head)
    if method == "gen":
        return UnknownScore(method, head, numbers={"gamma": GAMMA, "classes": LARGEST})
    features = np.asarray(outputs[EMBEDDING], np.float64)
    if len(features) < 2:
        raise ValueError(f"{method} needs 2 training photos or more; there are {len(features)}.")
    numbers: dict[str, float] = {}
    if method in ("energy", "nci", "fdbd"):
        arrays = _of_linear_head(method, features, linear)
        numbers = {"alpha": alpha} if method == "nci" else {}
    elif method == "knn":
        kept = np.random.default_rng(seed).permutation(len(features))[:BANK]
        arrays = {"bank": l2_normalized(features[np.sort(kept)])}
        numbers = {"k": min(NEIGHBORS, len(kept))}
    else:
        arrays, numbers = _gaussian(method, features, labels)
    stored = {name: values.astype(np.float32) for name, values in arrays.items()}
    return UnknownScore(method, head, stored, numbers)


def fit_candidates(
    head: str,
    outputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    linear: LinearHead | None = None,
    seed: int = 0,
) -> dict[Method, UnknownScore]:
    """Every score that can be fitted, in the order of `METHODS`.

    Args:
        head: As for `fit_unknown`.
        outputs: As for `fit_unknown`.
        labels: As for `fit_unknown`.
        linear: As for `fit_unknown`; without it energy, NCI and fDBD are left out.
        seed: As for `fit_unknown`.
    """
    methods = [m for m in METHODS if linear is not None or m not in ("energy", "nci", "fdbd")]
    return {m: fit_unknown(m, head, outputs, labels, linear=linear, seed=seed) for m in methods}


def with_threshold(
    score: UnknownScore,
    known: Mapping[str, np.ndarray],
    groups: np.ndarray,
    kept: float = KEPT,
) -> UnknownScore:
    """The score with the threshold that keeps a share of known photos.

    Args:
        score: As from `fit_unknown`.
        known: Outputs for known photos that were not trained on, which lie nearer than new ones.
        groups: Of each photo a number or name, (N,).
        kept: Probability that a new known photo is not called unknown, in (0, 1).

    Returns:
        With a threshold of infinity, which calls nothing unknown, where there are too few groups:
        19 are needed to keep 95%.
    """
    quantile = conformal_quantile(score.score(known), groups, 1 - kept)
    return replace(score, threshold=quantile.value, kept=kept, groups=quantile.groups)


def choose_unknown(
    candidates: Mapping[Method, UnknownScore],
    known: Mapping[str, np.ndarray],
    groups: np.ndarray,
    unknown: Mapping[Distance, Mapping[str, np.ndarray]],
    seed: int = 0,
) -> UnknownChoice:
    """Choose by the mean AUROC on near and far unknown photos.

    The simplest wins whose AUROC is within one standard error, of the difference, of the best.

    Args:
        candidates: As from `fit_candidates`.
        known: Outputs for known photos that were not trained on.
        groups: Of each known photo a number or name, (N,).
        unknown: Outputs for unknown photos, each of which counts: `near`, of classes that were left
            out of training, and `far`, of something else altogether. Either may be missing.
        seed: Of the bootstrap samples behind intervals and standard errors.

    Raises:
        ValueError: If there is no candidate.
    """
    if not candidates:
        raise ValueError("There is no unknown score to choose from.")
    table: dict[Method, Separation] = {}
    drawn: dict[Method, np.ndarray] = {}
    for method, score in candidates.items():
        own = score.score(known)
        others: dict[str, np.ndarray] = {
            name: score.score(outputs) for name, outputs in unknown.items()
        }
        aurocs = {name: _auroc(own, scores) for name, scores in others.items()}
        samples = _resampled(own, np.asarray(groups), others, seed)
        intervals = {name: percentile_interval(areas) for name, areas in samples.items()}
        table[method] = Separation(
            near=aurocs.get("near"),
            near_interval=intervals.get("near"),
            far=aurocs.get("far"),
            far_interval=intervals.get("far"),
            mean=float(np.mean(list(aurocs.values()))) if aurocs else None,
            bytes=score.size,
        )
        if samples:
            drawn[method] = np.mean(list(samples.values()), axis=0)
    if not unknown:
        taken = next((m for m in DEFAULT if m in candidates), next(iter(candidates)))
        return UnknownChoice(taken, "There were no unknown photos to choose by.", table)
    return _simplest_of_the_best(candidates, table, drawn)


def _simplest_of_the_best(
    candidates: Mapping[Method, UnknownScore],
    table: dict[Method, Separation],
    drawn: Mapping[Method, np.ndarray],
) -> UnknownChoice:
    ordered = sorted(candidates, key=METHODS.index)
    means = {method: table[method].mean or 0.0 for method in ordered}
    best = max(ordered, key=lambda method: means[method])
    for method in ordered:
        behind = means[best] - means[method]
        if behind <= np.std(drawn[best] - drawn[method]):
            break
    why = f"{best} has the highest mean AUROC, {means[best]:.3f}"
    if method != best:
        why += f"; {method} ({means[method]:.3f}) is simpler and within one standard error"
    return UnknownChoice(method, f"{why}.", table)


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    scores = np.concatenate([known, unknown])
    area = auroc(scores, np.arange(len(scores)) >= len(known))
    if area is None:
        raise ValueError(f"{len(known)} known and {len(unknown)} unknown photos decide nothing.")
    return area


def _resampled(
    known: np.ndarray,
    groups: np.ndarray,
    others: Mapping[str, np.ndarray],
    seed: int,
) -> dict[str, np.ndarray]:
    """AUROC on bootstrap samples, the same for each score, (REPEATS,)."""
    rows = group_samples(groups, REPEATS, seed)
    samples = {}
    for name, scores in others.items():
        random = np.random.default_rng([seed, len(scores)])
        draws = random.integers(len(scores), size=(REPEATS, len(scores)))
        samples[name] = np.array(
            [_auroc(known[r], scores[d]) for r, d in zip(rows, draws, strict=True)]
        )
    return samples


def _of_linear_head(
    method: Method, features: np.ndarray, linear: LinearHead | None
) -> dict[str, np.ndarray]:
    if linear is None:
        raise ValueError(f"{method} needs the linear head that makes logits of the embedding.")
    weight = np.asarray(linear.weight, np.float64)
    arrays = {"weight": weight, "bias": np.asarray(linear.bias, np.float64)}
    if method != "energy":
        arrays["mean"] = features.mean(axis=0)
    if method == "fdbd":
        apart = np.linalg.norm(weight[:, None] - weight[None], axis=2)
        np.fill_diagonal(apart, 1.0)  # no boundary lies between a class and itself
        arrays["apart"] = apart
    return arrays


def _gaussian(
    method: Method, features: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Means of classes and one shrunken covariance, of normalized features."""
    labels = np.asarray(labels)
    if labels.shape != (len(features),):
        raise ValueError(f"Labels {labels.shape} are not of {len(features)} photos.")
    labelled = labels != MISSING
    points = l2_normalized(features)[labelled]
    classes, which = np.unique(labels[labelled], return_inverse=True)
    if len(points) <= len(classes):
        raise ValueError(
            f"{method} needs several photos of a class: there are {len(points)} with a label, of"
            f" {len(classes)} classes."
        )
    center = points.mean(axis=0)
    points = points - center
    means = np.stack([points[which == c].mean(axis=0) for c in range(len(classes))])
    residuals = points - means[which]
    shrinkage = ledoit_wolf(residuals)
    scale, directions = precision(residuals, shrinkage=shrinkage)
    arrays = {"center": center, "means": means, "directions": directions}
    numbers = {"scale": scale}
    if method == "relative_mahalanobis":
        # By the same shrinkage: all photos together have more structure, so their own would be
        # smaller, and far photos would lie farther from all photos than from every class.
        numbers["overall_scale"], arrays["overall_directions"] = precision(
            points, shrinkage=shrinkage
        )
    return arrays, numbers


def precision(
    residuals: np.ndarray, directions: int = DIRECTIONS, shrinkage: float | None = None
) -> tuple[float, np.ndarray]:
    """Inverse of a shrunken covariance as scale · I - B Bᵀ.

    The covariance is drawn towards a multiple of the identity, as photos are often fewer than
    features. Its largest principal directions are kept, the others share their mean variance; with
    fewer residuals than `directions` nothing is lost by that.

    Args:
        residuals: (N, F), of mean 0.
        directions: How many are kept, at most.
        shrinkage: In [0, 1]; None takes Ledoit & Wolf's (2004).

    Returns:
        The scale, and B, (F, R).

    Raises:
        ValueError: If the residuals are all 0.
    """
    n, width = residuals.shape
    if shrinkage is None:
        shrinkage = ledoit_wolf(residuals)
    _, lengths, axes = np.linalg.svd(residuals, full_matrices=False)
    variances = np.zeros(width)
    variances[: len(lengths)] = lengths**2 / n
    overall = variances.mean()
    if not overall:
        raise ValueError("The embeddings of all photos of a class are the same: no covariance.")
    variances = (1 - shrinkage) * variances + shrinkage * overall
    # Features that never vary would have an infinite precision.
    variances = np.maximum(variances, 1e-6 * overall)
    kept = min(directions, len(lengths))
    rest = variances[kept:].mean() if kept < width else variances[kept - 1]
    inner = np.maximum(1 / rest - 1 / variances[:kept], 0.0)
    return float(1 / rest), axes[:kept].T * np.sqrt(inner)


def ledoit_wolf(residuals: np.ndarray) -> float:
    """How far to draw their covariance towards the identity, in [0, 1] (Ledoit & Wolf 2004).

    Args:
        residuals: (N, F), of mean 0.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(residuals, assume_centered=True))
