"""Nodes of the feedback pipeline: vet, list, judge, summarize, decide, draw."""

from __future__ import annotations

import logging
from datetime import datetime

import pandas as pd

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.judged import judged_answers, label_text
from cannabis_ml.feedback.page import corrected_photos, render_page
from cannabis_ml.feedback.recent_audits import recent_audits
from cannabis_ml.feedback.release_accuracy import AuditEstimate
from cannabis_ml.feedback.retrain_decision import (
    Evidence,
    RetrainDecision,
    RetrainParams,
    decide_retraining,
)
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.summary import FeedbackSummary, summarize
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import TrainingRecord, taxonomy_to_vet
from cannabis_ml.feedback.vetting import Evidence as VettingEvidence
from cannabis_ml.feedback.vetting import VettingParams, label_table, vet_opinions
from cannabis_ml.taxonomy import TaxonomySpec
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
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Turn what people told into labels, each with its probability, status and reason.

    Args:
        feedback_store: Opinions, answers and known labels.
        training_record_before: Gives the classes of heads that the configuration leaves open.
        taxonomy: Heads and classes as configured; classes added since the training count.
        vetting: Rules, consensus, quarantine and caps.

    Returns:
        Per photo and head what was found (labels as text); the accepted labels by the taxonomy's
        columns; the people; and the classes that they propose.

    Raises:
        FeedbackError: If people told something, but no head has known classes.
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
    evidence = VettingEvidence(known=feedback_store.gold, answers=feedback_store.answers)
    vetted = vet_opinions(opinions, heads, vetting, evidence)
    photos = vetted.photos.assign(
        label=pd.Series([label_text(label) for label in vetted.photos["label"]], dtype="str")
    )
    told = photos["status"].value_counts()
    log.info("Labels: %s", ", ".join(f"{n:,} {name}" for name, n in told.items()))
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
    return judged_answers(vetted_photos, feedback_store.opinions)


def measure_accuracy(
    feedback_store: FeedbackSnapshot,
    annotators: pd.DataFrame,
    training_record_before: TrainingRecord | None,
    started: str,
    retrain: RetrainParams,
    audit: AuditParams,
) -> dict[str, AuditEstimate]:
    """Measure accuracy since the last training on answers drawn for audit.

    Args:
        feedback_store: Opinions and answers.
        annotators: How often people are right.
        training_record_before: The last training.
        started: Time of the run, ISO 8601.
        retrain: What is recent.
        audit: How audits are read.

    Returns:
        By head; empty where nothing was audited.
    """
    now = datetime.fromisoformat(started)
    return recent_audits(feedback_store, annotators, training_record_before, (retrain, audit), now)


def summarize_feedback(
    feedback_store: FeedbackSnapshot,
    vetted_photos: pd.DataFrame,
    judged_answers: pd.DataFrame,
    annotators: pd.DataFrame,
    proposed_classes: pd.DataFrame,
    release_accuracy: dict[str, AuditEstimate],
) -> FeedbackSummary:
    """Count what people told and what of it was accepted.

    Args:
        feedback_store: All opinions.
        vetted_photos: What vetting made of them.
        judged_answers: Answers beside accepted labels.
        annotators: The people, and how often they are right.
        proposed_classes: The classes that they propose.
        release_accuracy: From `measure_accuracy`.
    """
    vetted = {"photos": vetted_photos, "people": annotators, "proposals": proposed_classes}
    return summarize(feedback_store, vetted, judged_answers, release_accuracy)


def decide(
    judged_answers: pd.DataFrame,
    feedback_photos: pd.DataFrame,
    proposed_classes: pd.DataFrame,
    training_record_before: TrainingRecord | None,
    release_accuracy: dict[str, AuditEstimate],
    started: str,
    retrain: RetrainParams,
) -> RetrainDecision:
    """Decide whether to train anew, with every reason that was looked at.

    Args:
        judged_answers: Answers beside accepted labels.
        feedback_photos: Photos with accepted labels.
        proposed_classes: The classes that people propose.
        training_record_before: The last training.
        release_accuracy: From `measure_accuracy`.
        started: Time of the run, ISO 8601.
        retrain: The limits.
    """
    evidence = Evidence(
        judged_answers,
        feedback_photos,
        proposed_classes,
        training_record_before,
        release_accuracy,
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
