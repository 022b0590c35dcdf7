"""Opinions on answers -> vetted photos, a summary and the retrain decision."""

from cannabis_ml.pipelines.feedback.pipeline import create_pipeline

__all__ = ["create_pipeline"]
