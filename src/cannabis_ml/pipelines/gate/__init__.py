"""The gate: champion and challenger compared, and the better one kept."""

from cannabis_ml.pipelines.gate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
