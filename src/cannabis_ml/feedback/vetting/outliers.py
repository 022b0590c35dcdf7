"""Photos unlike the training photos of the class that they were given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cannabis_ml.feedback.vetting.params import OutlierParams
from cannabis_ml.taxonomy import Head

_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Embedded:
    """Photos and their embeddings.

    Attributes:
        photos: `photo_id`, and label columns where labels are known; N rows.
        values: float (N, F), of one model file.
    """

    photos: pd.DataFrame
    values: np.ndarray

    def __post_init__(self) -> None:
        if len(self.photos) != len(self.values) or self.values.ndim != 2:
            raise ValueError(
                f"{len(self.photos)} photos have embeddings of shape {self.values.shape}"
            )


def outlier_p_values(
    found: Embedded,
    reference: Embedded,
    chosen: pd.DataFrame,
    head: Head,
    params: OutlierParams,
) -> np.ndarray:
    """How unusual photos are among the training photos of their class.

    The score is the mean cosine distance to the nearest training photos of the class; the
    p-value is the share of those photos, and one more, whose own score among the others is at
    least as large (a conformal p-value; Bates et al. 2023, Ann. Stat. 51:149). Of few training
    photos it cannot be small: n of them give 1 / (n + 1) at least.

    Args:
        found: Embeddings of the photos in question.
        reference: Those of training photos, with labels.
        chosen: `photo_id` and `label` of each, N rows.
        head: A multiclass or ordinal head.
        params: How many neighbors, and training photos.

    Returns:
        float64 (N,), in (0, 1]; 1 where a photo has no embedding or its class no training photos.
    """
    p_values = np.ones(len(chosen))
    if head.name not in reference.photos:
        return p_values
    row_of = {photo: row for row, photo in enumerate(found.photos["photo_id"])}
    rows = np.array([row_of.get(photo, -1) for photo in chosen["photo_id"]], np.int64)
    labels = reference.photos[head.name].to_numpy(object)
    for name in head.class_names:
        mine = np.flatnonzero((chosen["label"] == name).to_numpy() & (rows >= 0))
        theirs = _drawn(np.flatnonzero(labels == name), params)
        if len(mine) and len(theirs) > params.neighbors:
            known = _unit(reference.values[theirs])
            usual = _scores(known, known, params.neighbors, skip_self=True)
            scores = _scores(_unit(found.values[rows[mine]]), known, params.neighbors)
            as_odd = len(usual) - np.searchsorted(np.sort(usual), scores, side="left")
            p_values[mine] = (1 + as_odd) / (1 + len(usual))
    return p_values


def _drawn(rows: np.ndarray, params: OutlierParams) -> np.ndarray:
    if len(rows) <= params.reference_photos:
        return rows
    random = np.random.default_rng(params.seed)
    return np.sort(random.choice(rows, params.reference_photos, replace=False))


def _unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _scores(
    values: np.ndarray, known: np.ndarray, neighbors: int, *, skip_self: bool = False
) -> np.ndarray:
    """Mean cosine distance to the nearest, (N,)."""
    scores = np.empty(len(values))
    for start in range(0, len(values), _AT_ONCE):
        near = values[start : start + _AT_ONCE] @ known.T
        if skip_self:
            own = np.arange(len(near))
            near[own, start + own] = -np.inf
        nearest = -np.partition(-near, neighbors - 1, axis=1)[:, :neighbors]
        scores[start : start + len(near)] = 1 - nearest.mean(axis=1)
    return scores
