"""Wiring of adding a class: from the champion's network to one that knows more classes."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.training.add_class_nodes import (
    add_classes,
    embed_photos,
    predict_embedded,
)
from cannabis_ml.pipelines.training.nodes import keep_decision, score_predictions
from cannabis_ml.tiers import TIERS, Tier


def create_add_class_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Photo set with a new class -> per tier the champion's network with heads that know it."""
    return sum((_tier(tier) for tier in tiers), Pipeline([]))


def _tier(tier: Tier) -> Pipeline:
    return Pipeline(
        [
            Node(
                embed_photos,
                [
                    *("champion_start", "photo_set", "predictions_before"),
                    *("params:training", "params:engine"),
                ],
                "embeddings",
                name="embed_photos",
            ),
            Node(
                add_classes,
                [
                    "champion_start",
                    "photo_set",
                    "taxonomy",
                    "embeddings",
                    "params:add_class",
                    "params:training",
                    "workspace",
                    "name",
                ],
                ["checkpoint", "closed_form"],
                name="add_classes",
            ),
            Node(
                predict_embedded,
                ["checkpoint", "embeddings", "photo_set", "params:training"],
                "predictions",
                name="predict_embedded",
            ),
            Node(
                score_predictions,
                ["predictions", "photo_set", "taxonomy", "params:reports"],
                ["test_metrics", "class_report"],
                name="score_predictions",
            ),
            Node(keep_decision, "test_metrics", "decision", name="keep_decision"),
        ],
        namespace=tier.name,
        inputs={"photo_set", "taxonomy"},
        parameters={
            *("params:training", "params:reports", "params:add_class", "params:engine"),
        },
    )
