"""Training photos -> copies of them, each a little different."""

from cannabis_ml.pipelines.augmentation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
