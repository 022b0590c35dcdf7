"""What can be configured of the store."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MAX_PHOTO_BYTES = 25_000_000
MAX_PHOTO_PIXELS = 64_000_000


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreLimits(_Params):
    """What is taken in."""

    photo_bytes: int = Field(default=MAX_PHOTO_BYTES, gt=0, description="Of one photo")
    photo_pixels: int = Field(
        default=MAX_PHOTO_PIXELS, gt=0, description="Width x height of one photo"
    )


class Retention(_Params):
    """After how many days what is deleted; null: never."""

    photos_days: int | None = Field(
        default=None, ge=1, description="Photos, with every opinion on them, since they came"
    )
    opinions_days: int | None = Field(
        default=None, ge=1, description="Submissions and their opinions, since they came"
    )
    details_days: int | None = Field(
        default=None, ge=1, description="Device, region and metadata, since they came"
    )


class StoreParams(_Params):
    """`feedback.store` in parameters_feedback.yml."""

    limits: StoreLimits = StoreLimits()
    retention: Retention = Retention()
