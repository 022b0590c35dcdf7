"""Planning: photo set, minutes -> the recipe that fits into them, and its forecast."""

from cannabis_ml.pipelines.planning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
