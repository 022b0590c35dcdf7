"""How a model does after release: what was audited, what confidence promises, and drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.recent_audits import recent_audits, release_table
from cannabis_ml.feedback.release_accuracy import AuditEstimate
from cannabis_ml.feedback.release_drift import DriftFound, release_drift
from cannabis_ml.feedback.retrain_reason import RetrainParams
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_record import TrainingRecord


@dataclass(frozen=True, eq=False)
class Release:
    """Recent answers of the last training's model.

    Attributes:
        audits: As from `recent_audits`: intervals as sure as a reason to train has to be.
        table: As from `release_table`: intervals as asked for.
        drift: As from `release_drift`.
    """

    audits: Mapping[str, AuditEstimate] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    drift: list[DriftFound] = field(default_factory=list)


def watch_release(
    snapshot: FeedbackSnapshot,
    people: pd.DataFrame,
    basis: tuple[TrainingRecord | None, Mapping[str, pd.DataFrame]],
    params: tuple[RetrainParams, AuditParams],
    now: datetime,
) -> Release:
    """Estimate accuracy after release, and test for drift.

    Args:
        snapshot: Opinions, answers and embeddings.
        people: As from vetting.
        basis: The last training, and the photos that stand for it, by tier.
        params: What is recent; how audits are read and drift is tested.
        now: UTC.
    """
    record, references = basis
    retrain, audit = params
    return Release(
        recent_audits(snapshot, people, record, params, now),
        release_table(snapshot, people, record, params, now),
        release_drift(snapshot, record, references, (retrain, audit.drift), now),
    )
