"""Photos as found -> sound, split, stored photos."""

from cannabis_ml.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
