"""Bands: between which shares answers of this confidence were right."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ConfidenceBand(BaseModel):
    """A band around a reported confidence of one head; it travels with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: float = Field(gt=0, lt=1, description="How often the band holds the true share right")
    low: list[_Share] = Field(min_length=2, description="At confidences evenly spaced from 0 to 1")
    high: list[_Share] = Field(min_length=2)
    photos: list[int] = Field(min_length=2, description="Calibration photos near each of these")

    @model_validator(mode="after")
    def _check(self) -> ConfidenceBand:
        if not len(self.low) == len(self.high) == len(self.photos):
            raise ValueError(
                f"{len(self.low)} lower and {len(self.high)} upper ends, {len(self.photos)} counts"
            )
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("a lower end is above its upper end")
        return self

    def around(self, confidence: np.ndarray) -> np.ndarray:
        """Lower and upper end.

        Args:
            confidence: Calibrated, (...), in [0, 1].

        Returns:
            float64 (..., 2) in [0, 1]; holds the confidence itself.
        """
        confidence = np.asarray(confidence, np.float64)
        places = np.linspace(0, 1, len(self.low))
        low = np.minimum(np.interp(confidence, places, self.low), confidence)
        high = np.maximum(np.interp(confidence, places, self.high), confidence)
        return np.stack([low, high], axis=-1)
