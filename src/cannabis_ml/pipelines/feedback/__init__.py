"""What people tell of answers in; vetted photos, a summary and the retrain decision out."""

from cannabis_ml.pipelines.feedback.pipeline import create_pipeline

__all__ = ["create_pipeline"]
