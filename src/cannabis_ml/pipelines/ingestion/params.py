"""What can be set about ingestion: `ingestion.index`, `.groups`, `.split` and `.store`.

The thresholds of the checks are beside the checks: `ingestion.defects` in
`photos/checks/params.py`, `ingestion.set_checks` in `photo_sets/checks/registry.py`.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.photo_sets.near_duplicates import MAX_DIFFERENCE, MAX_DISTANCE

SPLITS = ("train", "validation", "calibration", "test")
"""The splits, in the order in which the hash divides photos."""

HELD_OUT = SPLITS[1:]
"""Those that no model learns from."""


class IndexParams(BaseModel):
    """How files are read."""

    model_config = ConfigDict(extra="forbid")

    workers: int | None = Field(default=None, gt=0, description="Threads; null: one per core")


class GroupParams(BaseModel):
    """Which photos show the same and must share a split."""

    model_config = ConfigDict(extra="forbid")

    near_duplicates: bool = Field(
        default=True, description="Whether to look for them; false leaves the source's groups"
    )
    max_distance: int = Field(
        default=MAX_DISTANCE, ge=0, le=10, description="Bits of 64 in which hashes may differ"
    )
    max_difference: float = Field(
        default=MAX_DIFFERENCE, ge=0, le=2, description="Up to which thumbnails may differ"
    )
    max_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of the photos in one chain of near-duplicates above which it is told"
        " of, with the limits that break it",
    )


class SplitParams(BaseModel):
    """How photos are divided."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=42, ge=0, description="Another seed divides the photos anew")
    train: float = Field(default=0.7, gt=0, le=1, description="Share that models learn from")
    validation: float = Field(default=0.1, ge=0, lt=1, description="Share that picks the epoch")
    calibration: float = Field(
        default=0.1, ge=0, lt=1, description="Share that calibrates and quantises"
    )
    test: float = Field(default=0.1, ge=0, lt=1, description="Share that only the report sees")

    @property
    def fractions(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in SPLITS}

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitParams:
        total = sum(self.fractions.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                f"the fractions of train, validation, calibration and test add up to {total:g},"
                " not to 1"
            )
        return self


class StoreParams(BaseModel):
    """How photos are stored for training."""

    model_config = ConfigDict(extra="forbid")

    short_side: int = Field(
        default=256, ge=16, description="Photos are brought down to this short side, in pixels"
    )
    quality: int = Field(
        default=95, ge=1, le=100, description="JPEG quality; colour is kept at full resolution"
    )
    workers: int | None = Field(default=None, gt=0, description="Threads; null: one per core")
