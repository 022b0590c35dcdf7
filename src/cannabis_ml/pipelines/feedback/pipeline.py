"""Wiring of the feedback pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.feedback.nodes import (
    decide,
    draw_feedback_page,
    judge,
    list_feedback_photos,
    measure_accuracy,
    summarize_feedback,
    vet,
)


def create_pipeline(**_: Any) -> Pipeline:
    """The store of feedback -> photos for ingestion, and whether to train anew."""
    return Pipeline(
        [
            Node(
                vet,
                [
                    "feedback_store",
                    "training_record_before",
                    "params:taxonomy",
                    "params:feedback.vetting",
                ],
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
                measure_accuracy,
                [
                    "feedback_store",
                    "annotators",
                    "training_record_before",
                    "started",
                    "params:feedback.retrain",
                    "params:feedback.audit",
                ],
                "release_accuracy",
                name="measure_accuracy",
            ),
            Node(
                summarize_feedback,
                [
                    "feedback_store",
                    "vetted_photos",
                    "judged_answers",
                    "annotators",
                    "proposed_classes",
                    "release_accuracy",
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
                    "release_accuracy",
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
