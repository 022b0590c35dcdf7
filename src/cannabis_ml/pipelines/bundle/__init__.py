"""Bundle: model files of all tiers -> one bundle with all that a client needs."""

from cannabis_ml.pipelines.bundle.pipeline import create_pipeline

__all__ = ["create_pipeline"]
