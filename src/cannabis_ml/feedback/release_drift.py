"""Drift after release: recent answers against photos that stand for training, tier by tier."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from datetime import datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.drift import CONFIDENCE, DriftParams, Sample, find_drift
from cannabis_ml.feedback.recent_audits import recent_answers
from cannabis_ml.feedback.reference import sample_of
from cannabis_ml.feedback.retrain_reason import RetrainParams
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_record import TrainingRecord


class DriftFound(BaseModel):
    """One test of drift, of the embeddings or of the confidence in one head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: str
    head: str | None = Field(description="None: embeddings")
    photos: int = Field(description="Recent ones")
    p_value: float | None = Field(description="After Holm's correction; None: too few photos")
    drifted: bool
    before: float | None = Field(description="Mean confidence on photos that stand for training")
    now: float | None = Field(description="Mean confidence on recent photos")
    low: float | None = Field(description="Lower end of the difference of the two")
    high: float | None = Field(description="Upper end, each as sure as a reason to train has to be")
    volunteered: float = Field(
        default=0.0, ge=0, le=1, description="Share of the photos that people judged unasked"
    )
    answered_before: float = Field(
        default=0.0, ge=0, le=1, description="Share of all photos that earlier tiers answered"
    )
    reason: str


def release_drift(
    snapshot: FeedbackSnapshot,
    record: TrainingRecord | None,
    references: Mapping[str, pd.DataFrame],
    params: tuple[RetrainParams, DriftParams],
    now: datetime,
) -> list[DriftFound]:
    """Test embeddings and confidences of recent answers of the last bundle for drift.

    Args:
        snapshot: Answers, and the embeddings that some came with.
        record: Of the last training, which answered; without it, and where another one's bundle is
            in service, nothing is tested.
        references: By tier, in their order, as from `reference_photos`; empty where there are none.
        params: What is recent and how sure a difference has to be; how drift is tested.
        now: UTC.

    Returns:
        By tier: embeddings first, then heads. Photos that one person sent on one day are a group.
    """
    retrain, drift = params
    if record is None or not record.is_in_service:
        return []  # embeddings and confidences of two networks cannot be compared
    answers = recent_answers(snapshot, record, retrain, now)
    tests: list[DriftFound] = []
    earlier: list[str] = []
    for tier, reference in references.items():
        before_it = float(answers["tier"].isin(earlier).mean()) if len(answers) else 0.0
        earlier.append(tier)
        rows = answers[answers["tier"] == tier] if len(answers) else answers
        if reference.empty or rows.empty:
            continue
        before = sample_of(reference)
        after = _sample_of_answers(rows, snapshot.embeddings, before)
        table = find_drift(before, after, drift)
        shares = {"volunteered": _volunteered(rows, snapshot.opinions)}
        shares["answered_before"] = before_it
        tests += [
            _found(tier, row, before, after, retrain).model_copy(update=shares)
            for row in table.to_dict("records")
        ]
    return tests


def _volunteered(rows: pd.DataFrame, opinions: pd.DataFrame) -> float:
    """Share of photos with an opinion that nobody was asked for."""
    unasked = opinions[(opinions["annotator"] == "person") & ~opinions["audit"].astype(bool)]
    return float(rows["photo_id"].drop_duplicates().isin(unasked["photo_id"]).mean())


def _sample_of_answers(rows: pd.DataFrame, embeddings: pd.DataFrame, before: Sample) -> Sample:
    """Recent photos of one tier; what is not known of a photo is NaN."""
    photos = rows.drop_duplicates("photo_id", keep="last")
    groups = (photos["person"] + " " + photos["at"].dt.strftime("%Y-%m-%d")).to_numpy(object)
    sure = rows.pivot(index="photo_id", columns="head", values="answered_confidence")
    sure = sure.reindex(photos["photo_id"])
    confidences = {str(name): sure[name].to_numpy(np.float64) for name in sure}
    if before.embeddings is None:
        return Sample(None, confidences, groups)
    values = np.full((len(photos), before.embeddings.shape[1]), np.nan, np.float32)
    tier, bundles = rows["tier"].iloc[0], set(rows["bundle_id"])
    own = embeddings[(embeddings["tier"] == tier) & embeddings["bundle_id"].isin(bundles)]
    place = {photo_id: i for i, photo_id in enumerate(photos["photo_id"])}
    for photo_id, embedding in zip(own["photo_id"], own["embedding"], strict=True):
        if photo_id in place and len(embedding) == values.shape[1]:
            values[place[photo_id]] = embedding
    return Sample(values, confidences, groups)


def _found(
    tier: str, row: Mapping[Hashable, Any], before: Sample, after: Sample, params: RetrainParams
) -> DriftFound:
    what = str(row["what"])
    head = None if what == "embeddings" else what.removeprefix(CONFIDENCE)
    p_value, photos = float(row["corrected"]), int(row["photos"])
    means: dict[str, float | None] = dict.fromkeys(("before", "now", "low", "high"))
    if head is not None and photos and not np.isnan(before.confidences[head]).all():
        first, first_error = _mean(before.confidences[head], before.groups)
        second, second_error = _mean(after.confidences[head], after.groups)
        z = NormalDist().inv_cdf((1 + params.two_sided(photos)) / 2)
        half = z * math.hypot(first_error, second_error)
        means = {"before": first, "now": second}
        means |= {"low": second - first - half, "high": second - first + half}
    return DriftFound(
        tier=tier,
        head=head,
        photos=photos,
        p_value=None if math.isnan(p_value) else p_value,
        drifted=bool(row["drifted"]),
        reason=f"{tier}: {row['reason']}",
        **means,
    )


def _mean(values: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """Mean, and its standard error where photos of a group are not independent (clustered)."""
    known = ~np.isnan(values)
    values = values[known]
    names = np.arange(len(known)) if groups is None else np.asarray(groups)
    mean = float(values.mean())
    _, which = np.unique(names[known].astype(str), return_inverse=True)
    sums = np.bincount(which.reshape(-1), weights=values - mean)
    count = len(sums)
    scale = count / (count - 1) if count > 1 else 1.0
    return mean, float(np.sqrt(scale * (sums**2).sum()) / len(values))
