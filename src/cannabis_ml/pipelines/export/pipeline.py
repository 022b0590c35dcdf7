"""Wiring of the export stage."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.export.nodes import check_parity, export_onnx

TIERS = ("tier3", "tier2", "tier1")


def create_pipeline(**_: Any) -> Pipeline:
    """Checkpoint -> ONNX, saved only if it answers as the checkpoint does."""
    return sum((_tier(name) for name in TIERS), Pipeline([]))


def _tier(namespace: str) -> Pipeline:
    return Pipeline(
        [
            Node(export_onnx, "checkpoint", "onnx_candidate", name="export_onnx"),
            Node(
                check_parity,
                ["onnx_candidate", "checkpoint", "photo_set", "params:export"],
                ["onnx", "parity"],
                name="check_parity",
            ),
        ],
        namespace=namespace,
        inputs={"photo_set"},
        parameters={"params:export"},
    )
