"""Wiring of the export stage: one pipeline per tier."""

from __future__ import annotations

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.export.nodes import (
    ask_pytorch,
    check_float,
    choose_quantized,
    draw_parity,
    export_float,
    export_for_pages,
    measure_latency,
)
from cannabis_ml.pipelines.export.params import TierExportParams
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Checkpoint -> per tier a float file, and the smallest quantized file that agrees with it."""
    return sum((_tier(tier) for tier in tiers), Pipeline([]))


def formats_written(pipeline: Pipeline, catalog: CatalogProtocol) -> set[str]:
    """Formats of the model files that a pipeline writes, known before it runs.

    Args:
        pipeline: Any.
        catalog: Holds the parameters.
    """
    names = [
        name
        for node in pipeline.nodes
        if node.func is export_float
        for name in node.inputs
        if name.startswith("params:")
    ]
    files = [TierExportParams.model_validate(catalog.load(name)) for name in names]
    pages = {"tflite"} if any(file.makes_page for file in files) else set()
    return {file.format for file in files} | pages


def _tier(tier: Tier) -> Pipeline:
    return Pipeline(
        [
            Node(
                export_float,
                ["checkpoint", "params:export", "name", "tracking_run", "decision"],
                "float_candidate",
                name="export_float",
            ),
            Node(
                ask_pytorch,
                ["checkpoint", "photo_set", "params:gate"],
                "expected_answers",
                name="ask_pytorch",
            ),
            Node(
                check_float,
                ["float_candidate", "expected_answers", "photo_set", "params:gate"],
                ["float_model", "float_parity"],
                name="check_float",
            ),
            Node(
                export_for_pages,
                [
                    "checkpoint",
                    "params:export",
                    "float_model",
                    "expected_answers",
                    "photo_set",
                    "params:gate",
                ],
                "page_candidates",
                name="export_for_pages",
            ),
            Node(
                choose_quantized,
                [
                    "float_model",
                    "float_parity",
                    "expected_answers",
                    "photo_set",
                    "augmented_photos",
                    "params:gate",
                    "params:export",
                    "page_candidates",
                ],
                ["models", "parity", "parity_table"],
                name="choose_quantized",
            ),
            Node(draw_parity, "parity", "parity_figure", name="draw_parity"),
            Node(
                measure_latency,
                ["models", "photo_set", "params:gate"],
                "latency",
                name="measure_latency",
            ),
        ],
        namespace=tier.name,
        inputs={"photo_set", "augmented_photos", "tracking_run"},
        # `params:export` names both the tier's own parameters and those that all tiers share.
        parameters={"params:gate": "params:export"},
    )
