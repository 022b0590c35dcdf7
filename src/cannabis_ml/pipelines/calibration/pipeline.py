"""Wiring of the calibration stage: one pipeline per tier."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.calibration.nodes import (
    calibrate,
    carry_decision,
    draw_reliability,
    judge_calibration,
    pick_reference,
    predict_with_file,
    score_file,
)
from cannabis_ml.pipelines.calibration.reliability_nodes import (
    choose_unknown,
    fit_reliability,
    judge_reliability,
    predict_unknown,
)
from cannabis_ml.pipelines.calibration.routing_nodes import (
    answers_for_routing,
    choose_routing,
    draw_routing,
)
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Model files -> the same files with calibrated decisions, and how far they can be trusted."""
    evidence = {tier.name: f"{tier.name}.routing_evidence" for tier in tiers}
    routing = Pipeline(
        [
            Node(
                choose_routing,
                {"taxonomy": "taxonomy", "calibration": "params:calibration", **evidence},
                ["routing", "routing_report"],
                name="choose_routing",
            ),
            Node(
                draw_routing,
                {
                    "routing": "routing",
                    "routing_report": "routing_report",
                    "calibration": "params:calibration",
                    **evidence,
                },
                "routing_figures",
                name="draw_routing",
            ),
        ]
    )
    return sum((_tier(tier) for tier in tiers), routing)


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
                pick_reference,
                ["file_outputs", "photo_set", "taxonomy", "calibrated_decision"],
                "reference_photos",
                name="pick_reference",
            ),
            Node(
                draw_reliability,
                "calibration_scores",
                "reliability_diagrams",
                name="draw_reliability",
            ),
            Node(
                fit_reliability,
                [
                    "file_outputs",
                    "photo_set",
                    "taxonomy",
                    "decision",
                    "calibrator_choices",
                    "params:calibration",
                ],
                ["reliability", "reliability_report"],
                name="fit_reliability",
            ),
            Node(
                predict_unknown,
                ["models", "unknown_photos", "params:calibration"],
                "unknown_outputs",
                name="predict_unknown",
            ),
            Node(
                choose_unknown,
                [
                    "file_outputs",
                    "unknown_outputs",
                    "photo_set",
                    "taxonomy",
                    "checkpoint",
                    "params:calibration",
                ],
                ["unknown_score", "unknown_report"],
                name="choose_unknown",
            ),
            Node(
                judge_reliability,
                [
                    "file_outputs",
                    "unknown_outputs",
                    "photo_set",
                    "taxonomy",
                    "calibrated_decision",
                    "reliability",
                    "unknown_score",
                    "params:reports",
                ],
                "reliability_scores",
                name="judge_reliability",
            ),
            Node(
                answers_for_routing,
                [
                    "file_outputs",
                    "photo_set",
                    "taxonomy",
                    "calibrated_decision",
                    "unknown_score",
                    "latency",
                    "params:calibration",
                ],
                "routing_evidence",
                name="answers_for_routing",
            ),
        ],
        namespace=tier.name,
        inputs={"photo_set", "taxonomy", "unknown_photos"},
        parameters={"params:calibration", "params:reports"},
    )
