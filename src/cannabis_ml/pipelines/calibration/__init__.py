"""Model files -> the same files with calibrated decisions, and how true their confidence is."""

from cannabis_ml.pipelines.calibration.pipeline import create_pipeline

__all__ = ["create_pipeline"]
