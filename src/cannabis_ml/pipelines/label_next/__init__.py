"""A bundle and photos in; what to label next, and what more photos would bring, out."""

from cannabis_ml.pipelines.label_next.pipeline import create_pipeline

__all__ = ["create_pipeline"]
