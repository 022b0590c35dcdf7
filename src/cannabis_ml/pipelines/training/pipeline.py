"""Wiring of the training stage, written once for every tier."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.training.nodes import (
    compare_tiers,
    draw_confusion_matrices,
    draw_head_reports,
    draw_mistakes,
    draw_prediction_sheet,
    draw_training_curves,
    keep_decision,
    predict_photos,
    score_predictions,
    train_model,
    train_student,
)

TEACHER = "tier3"
STUDENTS = ("tier2", "tier1")

_SHOWN = ("photo_set", "augmented_photos", "balanced_rows")
"""What an epoch shows."""


def create_pipeline(**_: Any) -> Pipeline:
    """Photo set -> a teacher -> its students; predictions, metrics and figures of each."""
    teacher = Node(
        train_model,
        [*_SHOWN, "taxonomy", "params:model", "params:training", "params:recipe", "workspace"],
        ["checkpoint", "training_history"],
        name="train_model",
    )
    student = Node(
        train_student,
        [
            *_SHOWN,
            "taxonomy",
            "params:model",
            "params:training",
            "params:recipe",
            "teacher_predictions",
            "workspace",
        ],
        ["checkpoint", "training_history", "distillation"],
        name="train_student",
    )
    answers = f"{TEACHER}.predictions"
    tiers = [_tier(teacher, TEACHER, {})]
    tiers += [_tier(student, name, {"teacher_predictions": answers}) for name in STUDENTS]
    side_by_side = Node(
        compare_tiers,
        {tier: f"{tier}.test_metrics" for tier in (TEACHER, *STUDENTS)},
        ["tier_comparison", "tier_comparison_figure"],
        name="compare_tiers",
    )
    return sum(tiers, Pipeline([side_by_side]))


def _tier(training: Node, namespace: str, taught_by: dict[str, str]) -> Pipeline:
    """One tier: a network trained by the given node, and what people read about it."""
    return Pipeline(
        [
            training,
            Node(
                predict_photos,
                ["checkpoint", "photo_set", "params:training"],
                "predictions",
                name="predict_photos",
            ),
            Node(
                score_predictions,
                ["predictions", "photo_set", "taxonomy", "params:reports"],
                ["test_metrics", "class_report"],
                name="score_predictions",
            ),
            Node(keep_decision, "test_metrics", "decision", name="keep_decision"),
            Node(
                draw_training_curves,
                "training_history",
                "training_curves",
                name="draw_training_curves",
            ),
            Node(
                draw_confusion_matrices,
                ["predictions", "photo_set", "taxonomy", "test_metrics"],
                "confusion_matrices",
                name="draw_confusion_matrices",
            ),
            Node(
                draw_head_reports,
                "test_metrics",
                "head_reports",
                name="draw_head_reports",
            ),
            Node(
                draw_mistakes,
                ["predictions", "photo_set", "taxonomy", "test_metrics", "params:reports"],
                "mistakes",
                name="draw_mistakes",
            ),
            Node(
                draw_prediction_sheet,
                ["predictions", "photo_set", "taxonomy", "test_metrics"],
                "prediction_sheet",
                name="draw_prediction_sheet",
            ),
        ],
        namespace=namespace,
        inputs={name: name for name in (*_SHOWN, "taxonomy")} | taught_by,
        parameters={"params:training", "params:reports"},
    )
