"""Training photos -> which of them to show how often, and how much each class weighs."""

from cannabis_ml.pipelines.balancing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
