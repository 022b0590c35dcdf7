"""Wiring of the bundle stage."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.bundle.nodes import (
    assemble,
    collect_tier,
    collect_trust,
    describe_tier,
    pick_golden_photos,
    record_training,
    write_model_card,
)
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Model files, golden photos and model card -> the bundle to deploy."""
    descriptions = {tier.name: f"{tier.name}.description" for tier in tiers}
    contents = {tier.name: f"{tier.name}.contents" for tier in tiers}
    bundle = Pipeline(
        [
            Node(
                pick_golden_photos,
                ["photo_set", "photos", "taxonomy", "params:bundle", "params:publishing"],
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
                    "routing_report": "routing_report",
                    "chosen_recipe": "chosen_recipe",
                    **descriptions,
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
                    "routing": "routing",
                    **contents,
                },
                "bundle",
                name="assemble_bundle",
            ),
            Node(
                record_training,
                {
                    "bundle": "bundle",
                    "taxonomy": "taxonomy",
                    "started": "started",
                    "ingested_feedback": "ingested_feedback",
                    **{tier.name: f"{tier.name}.file_metrics" for tier in tiers},
                },
                "training_record",
                name="record_training",
            ),
        ]
    )
    return sum((_tier(tier) for tier in tiers), bundle)


def _tier(tier: Tier) -> Pipeline:
    return Pipeline(
        [
            Node(
                describe_tier,
                [
                    "name",
                    "calibrated_models",
                    "file_metrics",
                    "parity",
                    "latency",
                    "trust",
                ],
                "description",
                name="describe_tier",
            ),
            Node(
                collect_trust,
                [
                    "calibrator_choices",
                    "calibration_scores",
                    "reliability_scores",
                    "unknown_report",
                ],
                "trust",
                name="collect_trust",
            ),
            Node(
                collect_tier,
                ["calibrated_models", "reliability", "unknown_score"],
                "contents",
                name="collect_tier",
            ),
        ],
        namespace=tier.name,
    )
