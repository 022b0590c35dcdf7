"""Model files -> the same files with calibrated decisions, and scores of their calibration."""

from cannabis_ml.pipelines.calibration.pipeline import create_pipeline

__all__ = ["create_pipeline"]
