"""Parameters of how photos are stored: `ingestion.store`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
