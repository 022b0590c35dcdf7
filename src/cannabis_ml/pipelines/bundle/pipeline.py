"""Wiring of the bundle."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.bundle.nodes import assemble, pick_golden_photos, write_model_card

TIERS = ("tier1", "tier2", "tier3")
REPORTS = ("models", "test_metrics", "parity", "latency")


def create_pipeline(**_: Any) -> Pipeline:
    """Model files, golden photos and a model card -> the bundle that is deployed."""
    reports = {f"{tier}_{name}": f"{tier}.{name}" for tier in TIERS for name in REPORTS}
    models = {tier: f"{tier}.models" for tier in TIERS}
    return Pipeline(
        [
            Node(
                pick_golden_photos,
                ["photo_set", "taxonomy", "params:bundle"],
                "golden_photos",
                name="pick_golden_photos",
            ),
            Node(
                write_model_card,
                {
                    "photo_set": "photo_set",
                    "taxonomy": "taxonomy",
                    "bundle": "params:bundle",
                    "started": "started",
                    "division_check": "division_check",
                    **reports,
                },
                "model_card",
                name="write_model_card",
            ),
            Node(
                assemble,
                {
                    "golden_photos": "golden_photos",
                    "model_card": "model_card",
                    "photo_set": "photo_set",
                    "taxonomy": "taxonomy",
                    "bundle": "params:bundle",
                    "started": "started",
                    "tracking_run": "tracking_run",
                    **models,
                },
                "bundle",
                name="assemble_bundle",
            ),
        ]
    )
