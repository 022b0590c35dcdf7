"""A checkpoint -> a model file that needs no training framework, proven to agree with it."""

from cannabis_ml.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
