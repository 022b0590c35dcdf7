"""Wiring of the calibration stage: one pipeline per tier."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.calibration.nodes import (
    calibrate,
    carry_decision,
    draw_reliability,
    judge_calibration,
    predict_with_file,
    score_file,
)
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: Any) -> Pipeline:
    """Model files -> the same files with calibrated decisions, and their scores on test photos."""
    return sum((_tier(tier) for tier in tiers), Pipeline([]))


def _tier(tier: Tier) -> Pipeline:
    return Pipeline(
        [
            Node(
                predict_with_file,
                ["models", "photo_set", "params:calibration"],
                "file_outputs",
                name="predict_with_file",
            ),
            Node(
                calibrate,
                ["name", "file_outputs", "photo_set", "taxonomy", "decision", "params:calibration"],
                ["calibrated_decision", "calibrator_choices"],
                name="calibrate",
            ),
            Node(
                carry_decision,
                ["models", "calibrated_decision"],
                "calibrated_models",
                name="carry_decision",
            ),
            Node(
                score_file,
                [
                    "file_outputs",
                    "photo_set",
                    "taxonomy",
                    "calibrated_decision",
                    "params:reports",
                ],
                "file_metrics",
                name="score_file",
            ),
            Node(
                judge_calibration,
                [
                    "file_outputs",
                    "photo_set",
                    "taxonomy",
                    "decision",
                    "calibrated_decision",
                    "params:reports",
                ],
                "calibration_scores",
                name="judge_calibration",
            ),
            Node(
                draw_reliability,
                "calibration_scores",
                "reliability_diagrams",
                name="draw_reliability",
            ),
        ],
        namespace=tier.name,
        inputs={"photo_set", "taxonomy"},
        parameters={"params:calibration", "params:reports"},
    )
