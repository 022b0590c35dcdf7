"""Wiring of the augmentation stage."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.augmentation.nodes import augment_photos, draw_augmentation_preview


def create_pipeline(**_: object) -> Pipeline:
    """Training photos -> copies of them, and a figure that shows both."""
    return Pipeline(
        [
            Node(
                augment_photos,
                [
                    *("photo_set", "taxonomy", "params:augmentation", "params:engine"),
                    "chosen_recipe",
                ],
                "augmented_photos",
                name="augment_photos",
            ),
            Node(
                draw_augmentation_preview,
                ["photo_set", "augmented_photos", "taxonomy"],
                "augmentation_preview",
                name="draw_augmentation_preview",
            ),
        ]
    )
