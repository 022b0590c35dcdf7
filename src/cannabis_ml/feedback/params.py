"""What can be configured of the store."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback import photo_cleaning


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreLimits(_Params):
    """What is taken in."""

    photo_bytes: int = Field(default=photo_cleaning.MAX_BYTES, gt=0, description="Of one photo")
    photo_pixels: int = Field(
        default=photo_cleaning.MAX_PIXELS, gt=0, description="Width x height of one photo"
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
