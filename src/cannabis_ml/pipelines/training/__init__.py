"""Training: photo set -> trained models, predictions, metrics and figures."""

from cannabis_ml.pipelines.training.add_class_pipeline import create_add_class_pipeline
from cannabis_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_add_class_pipeline", "create_pipeline"]
