"""Wiring of the training stage: one pipeline per tier, and their comparison."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.training.nodes import (
    add_experts,
    apply_recipe,
    compare_tiers,
    draw_confusion_matrices,
    draw_head_reports,
    draw_mistakes,
    draw_prediction_sheet,
    draw_training_curves,
    gather_training_data,
    keep_decision,
    predict_photos,
    score_predictions,
    train_model,
    train_student,
)
from cannabis_ml.tiers import TIERS, Tier

_SHARED = ("photo_set", "taxonomy", "training_data", "chosen_recipe")
"""What all tiers take."""


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Photo set -> per tier a trained network, predictions, metrics, figures; a comparison."""
    comparison = Node(
        compare_tiers,
        {tier.name: f"{tier.name}.test_metrics" for tier in reversed(tiers)},
        ["tier_comparison", "tier_comparison_figure"],
        name="compare_tiers",
    )
    data = Node(
        gather_training_data,
        ["photo_set", "augmented_photos", "balanced_rows", "taxonomy"],
        "training_data",
        name="gather_training_data",
    )
    return sum((_tier(tier) for tier in tiers), Pipeline([data, comparison]))


def _training(tier: Tier) -> Node:
    """Node that trains a tier: on labels alone, or with distillation from its teacher."""
    settings = ["model", "params:training", "schedule", "start", "workspace", "name"]
    if tier.teacher is None:
        return Node(
            train_model,
            ["training_data", *settings],
            ["single_checkpoint", "training_history"],
            name="train_model",
        )
    return Node(
        train_student,
        ["training_data", "teacher_predictions", *settings],
        ["single_checkpoint", "training_history", "distillation"],
        name="train_student",
    )


def _tier(tier: Tier) -> Pipeline:
    """One tier: training, predictions, metrics and figures."""
    teacher = {"teacher_predictions": f"{tier.teacher}.predictions"} if tier.teacher else {}
    return Pipeline(
        [
            Node(
                apply_recipe,
                ["params:model", "params:schedule", "chosen_recipe", "name"],
                ["model", "schedule"],
                name="apply_recipe",
            ),
            _training(tier),
            Node(
                add_experts,
                [
                    *("single_checkpoint", "training_data", "model", "params:training"),
                    *("schedule", "workspace", "name"),
                ],
                ["checkpoint", "experts"],
                name="add_experts",
            ),
            Node(
                predict_photos,
                ["checkpoint", "photo_set", "params:training", "params:engine", "workspace"],
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
        namespace=tier.name,
        inputs={name: name for name in _SHARED} | teacher,
        parameters={"params:training", "params:reports", "params:engine"},
    )
