"""Export: checkpoint -> float model file, and the smallest quantized file that agrees with it."""

from cannabis_ml.pipelines.export.pipeline import create_pipeline, formats_written

__all__ = ["create_pipeline", "formats_written"]
