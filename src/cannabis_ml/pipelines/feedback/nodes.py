"""Nodes of the feedback pipeline: vet, list, judge, audit, summarize, decide, draw."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import pandas as pd

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.audit_draw import AuditDraw, draw_audits, to_judge
from cannabis_ml.feedback.audit_queue import audits_to_review
from cannabis_ml.feedback.blind_opinions import with_answers
from cannabis_ml.feedback.judged import judged_answers, label_text
from cannabis_ml.feedback.label_studio import image_address, task
from cannabis_ml.feedback.page import corrected_photos, render_page
from cannabis_ml.feedback.recent_audits import judge_auditors
from cannabis_ml.feedback.reference import outlier_evidence
from cannabis_ml.feedback.release import Release, watch_release
from cannabis_ml.feedback.retrain_decision import (
    Evidence,
    RetrainDecision,
    RetrainParams,
    decide_retraining,
)
from cannabis_ml.feedback.review_queue import MOST_ENTRIES, QueueList
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.summary import FeedbackSummary, summarize
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import TrainingRecord, taxonomy_to_vet
from cannabis_ml.feedback.vetting import Evidence as VettingEvidence
from cannabis_ml.feedback.vetting import VettingParams, label_table, vet_opinions
from cannabis_ml.taxonomy_spec import TaxonomySpec
from cannabis_ml.text import counted

log = logging.getLogger(__name__)

NOTHING_VETTED = {
    "vetted_photos": ["photo_id", "head", "label", "confidence", "opinions", "status", "reason"],
    "accepted_labels": ["photo_id"],
    "annotators": ["person", "opinions", "accuracy", "low", "high", "weight", "quarantined"],
    "proposed_classes": ["head", "name", "photos", "people"],
}


def vet(
    feedback_store: FeedbackSnapshot,
    training_record_before: TrainingRecord | None,
    taxonomy: TaxonomySpec,
    vetting: VettingParams,
    **references: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Turn opinions into labels, each with its probability, status and reason.

    Args:
        feedback_store: Opinions, answers and known labels.
        training_record_before: Gives the classes of heads that the configuration leaves open.
        taxonomy: Heads and classes as configured; classes added since the training count.
        vetting: Rules, consensus, quarantine and caps.
        **references: By tier, photos that stand for training: outliers are found by them.

    Returns:
        Per photo and head what was found (labels as text); the accepted labels by the taxonomy's
        columns; the people; and the classes that they propose.

    Raises:
        FeedbackError: If there are opinions, but no head has known classes.
    """
    opinions = feedback_store.opinions
    if opinions.empty:
        nothing = [pd.DataFrame(columns=names) for names in NOTHING_VETTED.values()]
        return nothing[0], nothing[1], nothing[2], nothing[3]
    heads = taxonomy_to_vet(training_record_before, taxonomy)
    if heads is None:
        raise FeedbackError(
            f"There are {counted(len(opinions), 'opinion')}, but no class is known to hold them"
            " against: no training is recorded, and the taxonomy leaves classes to the labels.\nRun"
            " `kedro run` first, or `kedro run --pipeline=bundle` where the models are trained"
            " already."
        )
    evidence = VettingEvidence(
        feedback_store.gold,
        feedback_store.answers,
        *outlier_evidence(feedback_store, training_record_before, references),
    )
    vetted = vet_opinions(opinions, heads, vetting, evidence)
    photos = vetted.photos.assign(
        label=pd.Series([label_text(label) for label in vetted.photos["label"]], dtype="str")
    )
    by_status = photos["status"].value_counts()
    log.info("Labels: %s", ", ".join(f"{n:,} {name}" for name, n in by_status.items()))
    return photos, label_table(vetted, heads), vetted.people, vetted.proposals


def list_feedback_photos(
    accepted_labels: pd.DataFrame, feedback_store: FeedbackSnapshot
) -> pd.DataFrame:
    """List the photos with accepted labels, as ingestion reads them.

    Args:
        accepted_labels: `photo_id` and the taxonomy's label columns.
        feedback_store: Where the photos are, and what they were sent as.
    """
    photos = feedback_store.photos
    sent = dict(zip(photos["photo_id"], photos["sent_sha256"], strict=True))
    return feedback_photos(accepted_labels, feedback_store.paths, sent)


def judge(vetted_photos: pd.DataFrame, feedback_store: FeedbackSnapshot) -> pd.DataFrame:
    """Set the model's answers beside the accepted labels.

    Args:
        vetted_photos: Per photo and head the label, its status and confidence.
        feedback_store: The answers that people saw.
    """
    opinions = with_answers(feedback_store.opinions, feedback_store.answers)
    return judged_answers(vetted_photos, opinions)


def put_up_for_audit(
    feedback_store: FeedbackSnapshot, started: str, audit: AuditParams
) -> AuditDraw:
    """Plan how many answers are audited this week, and draw them.

    Args:
        feedback_store: Photos with answers, and what was drawn before.
        started: Time of the run, ISO 8601.
        audit: What interval is wanted.
    """
    draw = draw_audits(feedback_store, datetime.fromisoformat(started), audit)
    log.info("Audit: %s; %s drawn now", draw.plan.reason, counted(len(draw.drawn), "photo"))
    return draw


def list_audit_tasks(
    audit_draw: AuditDraw,
    feedback_store: FeedbackSnapshot,
    training_record_before: TrainingRecord | None,
    audit: AuditParams,
) -> list[dict[str, Any]]:
    """List the photos to judge as tasks of Label Studio, without what the model answered.

    Args:
        audit_draw: From `put_up_for_audit`.
        feedback_store: What was drawn before, and what people judged.
        training_record_before: Answers before the last training need no judgment any more.
        audit: Where Label Studio finds the photos.
    """
    since = training_record_before.at if training_record_before else None
    return [
        task(name, image_address(feedback_store.paths[name], audit.image_prefix))
        for name in to_judge(feedback_store, audit_draw, since)
    ]


def queue_audits(
    audit_draw: AuditDraw,
    feedback_store: FeedbackSnapshot,
    training_record_before: TrainingRecord | None,
) -> QueueList:
    """Put the photos to judge up for review, to be judged before the answer is seen.

    Args:
        audit_draw: From `put_up_for_audit`.
        feedback_store: What was drawn before, and what people judged.
        training_record_before: Answers before the last training need no judgment any more.
    """
    since = training_record_before.at if training_record_before else None
    return audits_to_review(
        to_judge(feedback_store, audit_draw, since)[:MOST_ENTRIES], feedback_store.answers
    )


def measure_release(
    feedback_store: FeedbackSnapshot,
    annotators: pd.DataFrame,
    training_record_before: TrainingRecord | None,
    started: str,
    retrain: RetrainParams,
    audit: AuditParams,
    vetting: VettingParams,
    **references: pd.DataFrame,
) -> Release:
    """Measure accuracy since the last training, and drift against it.

    Args:
        feedback_store: Opinions and answers.
        annotators: Who is quarantined.
        training_record_before: The last training.
        started: Time of the run, ISO 8601.
        retrain: What is recent.
        audit: How audits are read, and how drift is tested.
        vetting: How auditors are judged.
        **references: By tier, photos that stand for training.
    """
    now = datetime.fromisoformat(started)
    people = judge_auditors(
        feedback_store, annotators, training_record_before, vetting, audit.known_from
    )
    basis = (training_record_before, references)
    return watch_release(feedback_store, people, basis, (retrain, audit), now)


def summarize_feedback(
    feedback_store: FeedbackSnapshot,
    vetted_photos: pd.DataFrame,
    judged_answers: pd.DataFrame,
    annotators: pd.DataFrame,
    proposed_classes: pd.DataFrame,
    release: Release,
    audit_draw: AuditDraw,
    audit_tasks: list[dict[str, Any]],
) -> FeedbackSummary:
    """Count opinions and the labels that were accepted.

    Args:
        feedback_store: All opinions.
        vetted_photos: What vetting made of them.
        judged_answers: Answers beside accepted labels.
        annotators: The people, and how often they are right.
        proposed_classes: The classes that they propose.
        release: From `measure_release`.
        audit_draw: From `put_up_for_audit`.
        audit_tasks: From `list_audit_tasks`.
    """
    vetted = {"photos": vetted_photos, "people": annotators, "proposals": proposed_classes}
    audit = (audit_draw.plan, len(audit_tasks))
    return summarize(feedback_store, vetted, judged_answers, release, audit)


def decide(
    judged_answers: pd.DataFrame,
    feedback_photos: pd.DataFrame,
    proposed_classes: pd.DataFrame,
    training_record_before: TrainingRecord | None,
    release: Release,
    started: str,
    retrain: RetrainParams,
) -> RetrainDecision:
    """Decide whether to train anew, with every reason that was looked at.

    Args:
        judged_answers: Answers beside accepted labels.
        feedback_photos: Photos with accepted labels.
        proposed_classes: The classes that people propose.
        training_record_before: The last training.
        release: From `measure_release`.
        started: Time of the run, ISO 8601.
        retrain: The limits.
    """
    evidence = Evidence(
        judged_answers,
        feedback_photos,
        proposed_classes,
        training_record_before,
        release.audits,
        release.drift,
    )
    decision = decide_retraining(evidence, retrain, datetime.fromisoformat(started))
    for reason in decision.firing:
        log.info("Train anew: %s", reason.text)
    if not decision.retrain:
        log.info("No reason to train anew among the %d looked at", len(decision.reasons))
    return decision


def draw_feedback_page(
    feedback_summary: FeedbackSummary,
    retrain_decision: RetrainDecision,
    judged_answers: pd.DataFrame,
    feedback_store: FeedbackSnapshot,
) -> str:
    """Draw summary and decision as one HTML page.

    Args:
        feedback_summary: From `summarize_feedback`.
        retrain_decision: From `decide`.
        judged_answers: The photos last corrected are shown.
        feedback_store: Where they are.
    """
    shown = corrected_photos(judged_answers, feedback_store.paths)
    return render_page(feedback_summary, retrain_decision, shown)
