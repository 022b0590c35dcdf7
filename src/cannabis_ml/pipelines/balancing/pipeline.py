"""Wiring of the balancing stage."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.balancing.nodes import balance_classes, draw_balance


def create_pipeline(**_: object) -> Pipeline:
    """Training photos -> rows and weights that make up for unequal classes."""
    return Pipeline(
        [
            Node(
                balance_classes,
                ["photo_set", "taxonomy", "params:balancing"],
                ["balanced_rows", "class_weights"],
                name="balance_classes",
            ),
            Node(
                draw_balance,
                ["photo_set", "taxonomy", "balanced_rows", "params:balancing"],
                "balance_figure",
                name="draw_balance",
            ),
        ]
    )
