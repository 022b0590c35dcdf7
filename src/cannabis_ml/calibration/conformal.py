"""Fitting prediction sets by split conformal prediction, over groups of near-duplicates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.calibration.quantile import Quantile, conformal_quantile, fewest_groups
from cannabis_ml.evaluation.answered import Calibrated
from cannabis_ml.inference.prediction_sets import (
    ABSENT,
    PRESENT,
    HeadSets,
    Limit,
    PredictionSets,
    SetMethod,
    nonconformity,
)
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

ALPHA = 0.1

FEWEST = 50
"""Groups of a class from which on it gets a limit of its own; with fewer, sets grow large."""

_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Quantiles by which classes are compared (Ding et al., NeurIPS 2023, section 2.2)."""


@dataclass(frozen=True)
class HeadReport:
    """What the sets of one head rest on.

    Attributes:
        method: That was used.
        asked: That was asked for; `because` is why another was used.
        groups: Groups of photos with a label.
        photos: Photos with a label.
        infinite: Classes that are in every set, for want of photos.
        pooled: Classes that had too few groups for a limit of their own.
        clusters: Per cluster its classes; none but for `clustered`.
        because: See `asked`.
    """

    method: SetMethod
    asked: SetMethod
    groups: int
    photos: int
    infinite: tuple[str, ...] = ()
    pooled: tuple[str, ...] = ()
    clusters: tuple[tuple[str, ...], ...] = ()
    because: str = ""


@dataclass(frozen=True)
class FittedSets:
    """Prediction sets, and per head what they rest on."""

    sets: PredictionSets
    report: dict[str, HeadReport] = field(default_factory=dict)


class SetParams(BaseModel):
    """How prediction sets are fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(
        default=ALPHA, gt=0, lt=1, description="How often the truth may be outside"
    )
    method: SetMethod = Field(default="pooled", description="How limits are shared")
    fewest: int = Field(
        default=FEWEST, ge=0, description="Groups of a class for a limit of its own"
    )
    seed: int = Field(
        default=0, ge=0, description="Of the division into photos that cluster and that limit"
    )


_PARAMS = SetParams()


def fit_sets(
    calibrated: Calibrated,
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray,
    taxonomy: Taxonomy,
    params: SetParams = _PARAMS,
) -> FittedSets:
    """Limits for every head that has labels.

    `pooled`: one limit for all classes; the truth is in the set of a new photo with probability
    1 - alpha, over all classes together. `classwise`: a limit per class, and the promise within
    each class that has `fewest` groups; the others take the pooled limit. `clustered`: a limit per
    cluster of classes whose scores are alike. Attributes have a limit each where `fewest` groups
    are labelled, else that of all attributes together; with `classwise`, absent and present apart.

    Args:
        calibrated: Outputs and decisions for photos that nothing was fitted on.
        labels: As from `Taxonomy.encode`.
        groups: Of each photo a number or name, (N,).
        taxonomy: Gives the heads.
        params: With `fewest` 0 each class has a limit, infinite below `fewest_groups(alpha)`.
    """
    groups = np.asarray(groups)
    heads: dict[str, HeadSets] = {}
    report: dict[str, HeadReport] = {}
    for head in taxonomy.heads:
        fitter = _Fitter(head, params)
        scores = nonconformity(head, calibrated.outputs[head.name], calibrated.decided[head.name])
        truth = np.asarray(labels[head.name])
        known = ~np.isnan(truth) if head.kind == "multilabel" else truth != MISSING
        if not known.any():
            continue
        if head.kind == "multilabel":
            heads[head.name], report[head.name] = fitter.attributes(scores, truth, groups)
        else:
            own = scores[known, truth[known]]
            heads[head.name], report[head.name] = fitter.classes(own, truth[known], groups[known])
    return FittedSets(PredictionSets(heads=heads), report)


class _Scored(NamedTuple):
    """Nonconformity of the true class of each photo, with that class and the photo's group."""

    scores: np.ndarray
    truth: np.ndarray
    groups: np.ndarray

    def at(self, rows: np.ndarray) -> _Scored:
        return _Scored(self.scores[rows], self.truth[rows], self.groups[rows])


@dataclass(frozen=True)
class _Fitter:
    head: Head
    params: SetParams

    def classes(
        self, scores: np.ndarray, truth: np.ndarray, groups: np.ndarray
    ) -> tuple[HeadSets, HeadReport]:
        """Of a multiclass or ordinal head, from the scores of the true classes."""
        names, because = self.head.class_names, ""
        pooled = conformal_quantile(scores, groups, self.params.alpha)
        quantiles, too_few = [pooled] * len(names), []
        clusters: list[list[int]] = []
        method: SetMethod = self.params.method
        if method == "classwise":
            for k in range(len(names)):
                own = conformal_quantile(scores[truth == k], groups[truth == k], self.params.alpha)
                if own.groups >= self.params.fewest:
                    quantiles[k] = own
                else:
                    too_few.append(names[k])
        elif method == "clustered":
            scored = _Scored(scores, truth, groups)
            split = _clusters(scored, len(names), self.params.alpha, self.params.seed)
            if split is None:
                method = "pooled"
                because = "There are too few photos a class to find clusters of classes."
            else:
                clusters, rest = split
                quantiles = _per_cluster(scored.at(rest), clusters, len(names), self.params.alpha)
                clustered = {k for cluster in clusters for k in cluster}
                too_few = [names[k] for k in range(len(names)) if k not in clustered]
        sets = HeadSets(
            kind=self.head.kind,
            alpha=self.params.alpha,
            method=method,
            limits=[_limit(one) for one in quantiles],
            groups=[one.groups for one in quantiles],
        )
        return sets, HeadReport(
            method,
            self.params.method,
            pooled.groups,
            pooled.photos,
            infinite=tuple(sets.infinite(names)),
            pooled=tuple(too_few),
            clusters=tuple(tuple(names[k] for k in cluster) for cluster in clusters),
            because=because,
        )

    def attributes(
        self, scores: np.ndarray, truth: np.ndarray, groups: np.ndarray
    ) -> tuple[HeadSets, HeadReport]:
        """Of a multilabel head, from the scores of both states (N, K, 2)."""
        names = self.head.class_names
        known = ~np.isnan(truth)
        state = np.where(truth == 1, PRESENT, ABSENT)
        own = np.take_along_axis(scores, state[..., None], axis=2)[..., 0]
        of_label = np.broadcast_to(groups[:, None], known.shape)[known]
        together = conformal_quantile(own[known], of_label, self.params.alpha)
        by_state: dict[int, list[Quantile]] = {ABSENT: [], PRESENT: []}
        too_few = []
        for k, name in enumerate(names):
            labelled = known[:, k]
            both = conformal_quantile(own[labelled, k], groups[labelled], self.params.alpha)
            if both.groups < self.params.fewest:
                both = together
                too_few.append(name)
            for which, quantiles in by_state.items():
                if self.params.method != "classwise":
                    quantiles.append(both)
                    continue
                rows = labelled & (state[:, k] == which)
                apart = conformal_quantile(own[rows, k], groups[rows], self.params.alpha)
                enough = apart.groups >= self.params.fewest
                quantiles.append(apart if enough else both)
                if not enough and name not in too_few:
                    too_few.append(name)
        method: SetMethod = "classwise" if self.params.method == "classwise" else "pooled"
        sets = HeadSets(
            kind=self.head.kind,
            alpha=self.params.alpha,
            method=method,
            limits=[_limit(one) for one in by_state[PRESENT]],
            absent_limits=[_limit(one) for one in by_state[ABSENT]],
            groups=[one.groups for one in by_state[PRESENT]],
            absent_groups=[one.groups for one in by_state[ABSENT]],
        )
        return sets, HeadReport(
            method,
            self.params.method,
            together.groups,
            together.photos,
            infinite=tuple(sets.infinite(names)),
            pooled=tuple(too_few),
            because="" if method == self.params.method else "Attributes are not clustered.",
        )


def _clusters(
    scored: _Scored, classes: int, alpha: float, seed: int
) -> tuple[list[list[int]], np.ndarray] | None:
    """Clusters of classes with like scores, and the rows that are left for their limits.

    By the rules of Ding et al. 2023 for how many photos cluster, and how many clusters there are.
    None where these give fewer than two clusters.
    """
    from sklearn.cluster import KMeans

    scores, truth, groups = scored
    counts = np.array([len(np.unique(groups[truth == k])) for k in range(classes)])
    enough = max(fewest_groups(alpha), 1)
    frequent = np.flatnonzero(counts >= enough)
    if len(frequent) < 2:
        return None
    smallest = counts[frequent].min()
    for_clustering = int(smallest * len(frequent) / (75 + len(frequent)))
    count = min(for_clustering // 2, len(frequent))
    if count < 2:
        return None
    names = np.unique(groups)
    drawn = np.random.default_rng(seed).permutation(names)[
        : max(1, round(len(names) * for_clustering / smallest))
    ]
    first = np.isin(groups, drawn)
    seen = [k for k in frequent if (first & (truth == k)).any()]
    if len(seen) < count:
        return None
    levels = [*_LEVELS, 1 - alpha]
    shapes = np.stack([np.quantile(scores[first & (truth == k)], levels) for k in seen])
    weights = np.sqrt([(first & (truth == k)).sum() for k in seen])
    means = KMeans(count, n_init=10, random_state=seed).fit(shapes, sample_weight=weights)
    clusters = [
        [int(k) for k, c in zip(seen, means.labels_, strict=True) if c == i] for i in range(count)
    ]
    return [cluster for cluster in clusters if cluster], ~first


def _per_cluster(
    scored: _Scored, clusters: list[list[int]], classes: int, alpha: float
) -> list[Quantile]:
    """Per class the quantile of its cluster; of classes in none that of all photos."""
    scores, truth, groups = scored
    quantiles = [conformal_quantile(scores, groups, alpha)] * classes
    for cluster in clusters:
        rows = np.isin(truth, cluster)
        own = conformal_quantile(scores[rows], groups[rows], alpha)
        for k in cluster:
            quantiles[k] = own
    return quantiles


def _limit(quantile: Quantile) -> Limit:
    return None if math.isinf(quantile.value) else quantile.value
