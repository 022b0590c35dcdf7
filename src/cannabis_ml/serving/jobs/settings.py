"""What batch jobs may cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MEGABYTE = 1 << 20


class JobSettings(BaseModel):
    """Limits of batch jobs. They need a store of feedback, in whose database they are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: int = Field(default=200, ge=1, le=1000, description="Of one job; status 413 above")
    total_bytes: int = Field(
        default=256 * MEGABYTE, ge=1024, description="Of all photos of a job; status 413 above"
    )
    upload_seconds: float = Field(
        default=300.0, gt=0, description="Until all photos are there; as long again to store them"
    )
    uploads: int = Field(default=2, ge=1, description="Jobs that are sent at once; 503 above")
    waiting_photos: int = Field(
        default=2000, ge=1, description="Of all jobs; no job is taken while more are waiting"
    )
    keep_hours: float = Field(default=24.0, gt=0, description="Results are kept this long")
    lease_seconds: float = Field(
        default=60.0,
        gt=0,
        description="After so long without a result another process takes a photo over",
    )
    poll_seconds: float = Field(
        default=2.0, gt=0, description="How often a process looks for jobs that others were sent"
    )
    patience_seconds: float = Field(
        default=5.0,
        ge=0,
        description="A photo of a job waits this long for live requests, at most",
    )
    streams: int = Field(default=16, ge=1, description="Results that are followed at once")
    follow_seconds: float = Field(
        default=300.0, gt=0, description="Results are followed this long; then ask for the rest"
    )
