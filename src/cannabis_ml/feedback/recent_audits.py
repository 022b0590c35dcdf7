"""Accuracy since the last training, from answers drawn uniformly for audit."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.release_accuracy import (
    AuditEstimate,
    audited_answers,
    estimate_accuracy,
)
from cannabis_ml.feedback.retrain_decision import RetrainParams, answered_since
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_record import TrainingRecord


def recent_audits(
    snapshot: FeedbackSnapshot,
    people: pd.DataFrame,
    record: TrainingRecord | None,
    params: tuple[RetrainParams, AuditParams],
    now: datetime,
) -> dict[str, AuditEstimate]:
    """Estimate the accuracy of each multiclass and ordinal head on recent audited answers.

    Args:
        snapshot: Opinions, and answers with the probability that they were drawn with.
        people: As from vetting: how often each is right, and who is quarantined.
        record: Of the last training, which answered; without it nothing is estimated.
        params: What is recent and with which confidence one end of an interval holds; how audits
            are read.
        now: UTC.

    Returns:
        By head; heads without an audited answer are left out.
    """
    retrain, audit = params
    if record is None:
        return {}
    opinions = answered_since(snapshot.opinions[snapshot.opinions["audit"].astype(bool)], record)
    opinions = opinions[opinions["at"] >= pd.Timestamp(now - timedelta(days=retrain.recent_days))]
    if opinions.empty:
        return {}
    audited = audited_answers(opinions, snapshot.answers, people, audit)
    found = {}
    for head in record.taxonomy.heads:
        rows = audited[audited["head"] == head.name]
        if head.kind != "multilabel" and len(rows):
            confidence = retrain.two_sided(len(rows))
            two_sided = audit.model_copy(update={"confidence": confidence})
            found[head.name] = estimate_accuracy(rows, len(head.classes), two_sided)
    return {name: one for name, one in found.items() if one.accuracy is not None}
