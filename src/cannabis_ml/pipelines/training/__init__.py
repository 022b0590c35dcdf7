"""The photo set -> a trained model, its predictions and what people read about it."""

from cannabis_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
