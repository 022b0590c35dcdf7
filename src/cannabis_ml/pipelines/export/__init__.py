"""A checkpoint -> the smallest files that need no training framework and answer as well."""

from cannabis_ml.pipelines.export.pipeline import create_pipeline, formats_written

__all__ = ["create_pipeline", "formats_written"]
