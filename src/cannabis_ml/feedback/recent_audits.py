"""Accuracy since the last training, from answers drawn uniformly for audit."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.blind_opinions import with_answers
from cannabis_ml.feedback.release_accuracy import (
    AuditEstimate,
    accuracy_after_release,
    audited_answers,
    estimate_accuracy,
    with_unjudged,
)
from cannabis_ml.feedback.retrain_reason import RetrainParams
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_record import TrainingRecord, answered_since
from cannabis_ml.feedback.vetting import Evidence, VettingParams, vet_opinions


def recent_audits(
    snapshot: FeedbackSnapshot,
    people: pd.DataFrame,
    record: TrainingRecord | None,
    params: tuple[RetrainParams, AuditParams],
    now: datetime,
) -> dict[str, AuditEstimate]:
    """Estimate the accuracy of each head on recent audited answers.

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
    audited = recently_audited(snapshot, people, record, params, now)
    waiting = _unjudged(recent_answers(snapshot, record, retrain, now), audited)
    estimates = {}
    for head in record.taxonomy.heads:
        rows = audited[audited["head"] == head.name]
        if len(rows):
            confidence = retrain.two_sided(len(rows))
            two_sided = audit.model_copy(update={"confidence": confidence})
            classes, many = len(head.class_names), head.kind == "multilabel"
            one = estimate_accuracy(rows, classes, two_sided, attributes=many)
            if not many:
                probability = waiting.loc[waiting["head"] == head.name, "audit_probability"]
                one = with_unjudged(one, rows, probability, classes, two_sided)
            estimates[head.name] = one
    return {name: one for name, one in estimates.items() if one.accuracy is not None}


def judge_auditors(
    snapshot: FeedbackSnapshot,
    annotators: pd.DataFrame,
    record: TrainingRecord | None,
    vetting: VettingParams,
    known_from: int,
) -> pd.DataFrame:
    """Estimate how often auditors are right, from other people and known labels alone.

    Were they compared with the model too, as in vetting, every answer that is not as the model's
    would count against them, and the model would seem to be right more often than it is.

    Args:
        snapshot: Opinions and known labels.
        annotators: As from vetting; who is quarantined there does not audit.
        record: Of the last training; gives the heads.
        vetting: How people are judged.
        known_from: Answers that could be compared, from which a person is known. Others count as
            always right: so accuracy is rather too low than too high.

    Returns:
        `person`, `accuracy` and `quarantined`.
    """
    if record is None or annotators.empty:
        return annotators
    consensus = vetting.consensus.model_copy(update={"model": False})
    alone = vetting.model_copy(update={"consensus": consensus})
    evidence = Evidence(known=snapshot.gold)
    people = vet_opinions(snapshot.opinions, record.taxonomy, alone, evidence).people
    people = people.drop_duplicates("person")  # before language models of the same name
    accuracy = people["accuracy"].where(people["compared"] >= known_from, 1.0)
    out = set(annotators.loc[annotators["quarantined"].astype(bool), "person"])
    quarantined = people["quarantined"].astype(bool) | people["person"].isin(out)
    return people[["person"]].assign(accuracy=accuracy, quarantined=quarantined)


def release_table(
    snapshot: FeedbackSnapshot,
    people: pd.DataFrame,
    record: TrainingRecord | None,
    params: tuple[RetrainParams, AuditParams],
    now: datetime,
) -> pd.DataFrame:
    """Accuracy of each head on recent answers, as audited and as calibrated confidence promises.

    Args:
        snapshot: As for `recent_audits`.
        people: As for `recent_audits`.
        record: As for `recent_audits`.
        params: As for `recent_audits`; intervals have the confidence of audits.
        now: UTC.

    Returns:
        As from `accuracy_after_release`, and `unjudged`: answers that were drawn and that nobody
        has judged. Without rows where no training is recorded, or it has not answered lately.
    """
    if record is None:
        return pd.DataFrame()
    answers = recent_answers(snapshot, record, params[0], now)
    if answers.empty:
        return pd.DataFrame()
    audited = recently_audited(snapshot, people, record, params, now)
    table = accuracy_after_release(audited, answers, record.taxonomy, params[1])
    waiting = _unjudged(answers, audited)["head"].value_counts()
    unjudged = [int(waiting.get(name, 0)) for name in table["head"]]
    return table.assign(unjudged=unjudged)


def recent_answers(
    snapshot: FeedbackSnapshot, record: TrainingRecord, params: RetrainParams, now: datetime
) -> pd.DataFrame:
    """What the model of the last training answered lately, the last answer of a photo and head."""
    answers = snapshot.answers
    if "at" not in answers:
        return answers.iloc[:0]
    recent = _lately(answered_since(answers, record), params, now)
    recent = recent.sort_values("at", kind="stable")
    return recent.drop_duplicates(["photo_id", "head"], keep="last")


def recently_audited(
    snapshot: FeedbackSnapshot,
    people: pd.DataFrame,
    record: TrainingRecord,
    params: tuple[RetrainParams, AuditParams],
    now: datetime,
) -> pd.DataFrame:
    """Judgments of recent audited answers, as from `audited_answers`."""
    opinions = snapshot.opinions[snapshot.opinions["audit"].astype(bool)]
    opinions = with_answers(opinions, snapshot.answers)
    opinions = _lately(answered_since(opinions, record), params[0], now)
    if opinions.empty:
        columns = ["photo_id", "head", "agreement", "skill", "weight", "blind", "probability"]
        return pd.DataFrame(columns=columns)
    return audited_answers(opinions, snapshot.answers, people, params[1])


def _lately(rows: pd.DataFrame, params: RetrainParams, now: datetime) -> pd.DataFrame:
    return rows[rows["at"] >= pd.Timestamp(now - timedelta(days=params.recent_days))]


def _unjudged(answers: pd.DataFrame, audited: pd.DataFrame) -> pd.DataFrame:
    """Answers that were drawn and are not judged."""
    if "audit_probability" not in answers or answers.empty:
        return answers.assign(audit_probability=1.0).iloc[:0]
    drawn = answers[answers["audit_probability"] > 0]
    judged = set(zip(audited["photo_id"], audited["head"], strict=True))
    waits = [pair not in judged for pair in zip(drawn["photo_id"], drawn["head"], strict=True)]
    return drawn[np.array(waits, bool)]
