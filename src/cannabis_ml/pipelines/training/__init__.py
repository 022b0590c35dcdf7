"""Training: photo set -> trained models, predictions, metrics and figures."""

from cannabis_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
