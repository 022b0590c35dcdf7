"""Parameters of splitting: the share of each split, and the seed."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.splits import SPLITS


class SplitParams(BaseModel):
    """How photos are divided."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=42, ge=0, description="Another seed divides the photos anew")
    train: float = Field(default=0.7, gt=0, le=1, description="Share that models learn from")
    validation: float = Field(default=0.1, ge=0, lt=1, description="Share that picks the epoch")
    calibration: float = Field(
        default=0.1, ge=0, lt=1, description="Share that calibrates and quantizes"
    )
    test: float = Field(default=0.1, ge=0, lt=1, description="Share that only the report sees")

    @property
    def fractions(self) -> dict[str, float]:
        return {str(split): getattr(self, split) for split in SPLITS}

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitParams:
        total = sum(self.fractions.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                f"the fractions of train, validation, calibration and test add up to {total:g},"
                " not to 1"
            )
        return self
