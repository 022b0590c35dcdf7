"""Wiring of the training stage, written once for every tier."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.training.nodes import (
    draw_confusion_matrices,
    draw_prediction_sheet,
    draw_training_curves,
    predict_photos,
    score_predictions,
    train_model,
)


def create_pipeline(**_: Any) -> Pipeline:
    """Photo set -> trained model -> predictions -> metrics and figures."""
    tier = Pipeline(
        [
            Node(
                train_model,
                [
                    "photo_set",
                    "augmented_photos",
                    "balanced_rows",
                    "taxonomy",
                    "params:model",
                    "params:training",
                ],
                ["checkpoint", "training_history"],
                name="train_model",
            ),
            Node(
                predict_photos,
                ["checkpoint", "photo_set", "params:training"],
                "predictions",
                name="predict_photos",
            ),
            Node(
                score_predictions,
                ["predictions", "photo_set", "taxonomy"],
                ["test_metrics", "class_report"],
                name="score_predictions",
            ),
            Node(
                draw_training_curves,
                "training_history",
                "training_curves",
                name="draw_training_curves",
            ),
            Node(
                draw_confusion_matrices,
                ["predictions", "photo_set", "taxonomy"],
                "confusion_matrices",
                name="draw_confusion_matrices",
            ),
            Node(
                draw_prediction_sheet,
                ["predictions", "photo_set", "taxonomy"],
                "prediction_sheet",
                name="draw_prediction_sheet",
            ),
        ]
    )
    return Pipeline(
        tier,
        namespace="tier3",
        inputs={"photo_set", "augmented_photos", "balanced_rows", "taxonomy"},
        parameters={"params:training"},
    )
