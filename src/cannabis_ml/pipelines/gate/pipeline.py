"""Wiring of the gate stage: one pipeline per tier, then one decision."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.gate.nodes import (
    answer_as_challenger,
    answer_as_champion,
    decide_promotion,
    gather_evidence,
    promote_challenger,
    write_gate_page,
)
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Bundle and champion -> comparison, decision, page, and the champion from now on."""
    decision = Pipeline(
        [
            Node(
                decide_promotion,
                {
                    "champion": "champion",
                    "bundle": "bundle",
                    "gate": "params:gate",
                    **{tier.name: f"{tier.name}.evidence" for tier in tiers},
                },
                "gate_report",
                name="decide_promotion",
            ),
            Node(
                write_gate_page,
                ["gate_report", "photo_set", "unlabelled_photos"],
                "gate_page",
                name="write_gate_page",
            ),
            Node(
                promote_challenger,
                {
                    "report": "gate_report",
                    "bundle": "bundle",
                    "started": "started",
                    "tracking_run": "tracking_run",
                    "gate": "params:gate",
                    **{tier.name: f"{tier.name}.checkpoint" for tier in tiers},
                },
                "promotion",
                name="promote_challenger",
            ),
        ]
    )
    return sum((_tier(tier) for tier in tiers), decision)


def _tier(tier: Tier) -> Pipeline:
    return Pipeline(
        [
            Node(
                answer_as_champion,
                ["name", "champion", "bundle", "photo_set", "unlabelled_photos", "params:gate"],
                "champion_outputs",
                name="answer_as_champion",
            ),
            Node(
                answer_as_challenger,
                [
                    "name",
                    "bundle",
                    "calibrated_models",
                    "file_outputs",
                    "unlabelled_photos",
                    "params:gate",
                ],
                "challenger_outputs",
                name="answer_as_challenger",
            ),
            Node(
                gather_evidence,
                [
                    "name",
                    "champion",
                    "bundle",
                    "champion_outputs",
                    "challenger_outputs",
                    "photo_set",
                    "latency",
                    "params:gate",
                ],
                "evidence",
                name="gather_evidence",
            ),
        ],
        namespace=tier.name,
        inputs={"champion", "bundle", "photo_set", "unlabelled_photos"},
        parameters={"params:gate"},
    )
