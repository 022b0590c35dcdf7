"""The tiers' files -> one bundle that holds them with everything that a client needs."""

from cannabis_ml.pipelines.bundle.pipeline import create_pipeline

__all__ = ["create_pipeline"]
