"""Wiring of the feedback pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.feedback.nodes import (
    decide,
    draw_feedback_page,
    judge,
    list_audit_tasks,
    list_feedback_photos,
    measure_release,
    put_up_for_audit,
    queue_audits,
    summarize_feedback,
    vet,
)
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: Any) -> Pipeline:
    """The store of feedback -> photos for ingestion, and whether to train anew."""
    references = {tier.name: f"{tier.name}.reference_before" for tier in tiers}
    return Pipeline(
        [
            Node(
                vet,
                {
                    "feedback_store": "feedback_store",
                    "training_record_before": "training_record_before",
                    "taxonomy": "params:taxonomy",
                    "vetting": "params:feedback.vetting",
                    **references,
                },
                ["vetted_photos", "accepted_labels", "annotators", "proposed_classes"],
                name="vet",
            ),
            Node(
                list_feedback_photos,
                ["accepted_labels", "feedback_store"],
                "feedback_photos",
                name="list_feedback_photos",
            ),
            Node(judge, ["vetted_photos", "feedback_store"], "judged_answers", name="judge"),
            Node(
                put_up_for_audit,
                ["feedback_store", "started", "params:feedback.audit"],
                "audit_draw",
                name="put_up_for_audit",
            ),
            Node(
                list_audit_tasks,
                [
                    "audit_draw",
                    "feedback_store",
                    "training_record_before",
                    "params:feedback.audit",
                ],
                "audit_tasks",
                name="list_audit_tasks",
            ),
            Node(
                queue_audits,
                ["audit_draw", "feedback_store", "training_record_before"],
                "audit_queue",
                name="queue_audits",
            ),
            Node(
                measure_release,
                {
                    "feedback_store": "feedback_store",
                    "annotators": "annotators",
                    "training_record_before": "training_record_before",
                    "started": "started",
                    "retrain": "params:feedback.retrain",
                    "audit": "params:feedback.audit",
                    "vetting": "params:feedback.vetting",
                    **references,
                },
                "release",
                name="measure_release",
            ),
            Node(
                summarize_feedback,
                [
                    "feedback_store",
                    "vetted_photos",
                    "judged_answers",
                    "annotators",
                    "proposed_classes",
                    "release",
                    "audit_draw",
                    "audit_tasks",
                ],
                "feedback_summary",
                name="summarize_feedback",
            ),
            Node(
                decide,
                [
                    "judged_answers",
                    "feedback_photos",
                    "proposed_classes",
                    "training_record_before",
                    "release",
                    "started",
                    "params:feedback.retrain",
                ],
                "retrain_decision",
                name="decide_retraining",
            ),
            Node(
                draw_feedback_page,
                ["feedback_summary", "retrain_decision", "judged_answers", "feedback_store"],
                "feedback_page",
                name="draw_feedback_page",
            ),
        ]
    )
