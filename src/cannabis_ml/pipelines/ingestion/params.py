"""Parameters of reading and storing photos: `ingestion.index` and `ingestion.store`.

Those of grouping, splitting and the checks are beside the code: `ingestion.groups` in
`photo_sets/groups.py`, `.split` in `photo_sets/split_params.py`, `.defects` in
`photos/checks/params.py` and `.set_checks` in `photo_sets/checks/registry.py`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class IndexParams(BaseModel):
    """How files are read."""

    model_config = ConfigDict(extra="forbid")

    workers: int | None = Field(default=None, gt=0, description="Threads; null: one per core")


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
