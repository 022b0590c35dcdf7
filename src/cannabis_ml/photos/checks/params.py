"""The thresholds of the checks that look at one photo."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photos.decode import MAX_PIXELS


class DefectParams(BaseModel):
    """What a photo may be. Each field belongs to the check that its name begins with.

    The defaults of the last four flag 3 of 5,584 photos of leaves in the field, in the laboratory
    and on a table: photos are flagged for what is wrong with them, not for what they show.
    """

    model_config = ConfigDict(extra="forbid")

    too_large_pixels: int = Field(
        default=MAX_PIXELS, gt=0, description="Set aside photos of more pixels than this"
    )
    too_large_megabytes: int = Field(
        default=500, gt=0, description="Set aside files above this, without reading them"
    )
    too_small_side: int = Field(
        default=32, ge=0, description="Set aside photos whose short side is below, in pixels"
    )
    blurred_below: float = Field(
        default=10.0,
        ge=0,
        description="Flag photos whose variance of the Laplacian, at a short side of 256, is below",
    )
    dark_below: float = Field(
        default=60.0,
        ge=0,
        le=255,
        description="Flag photos whose brightest twentieth begins below this grey level",
    )
    burnt_out_above: float = Field(
        default=0.9, ge=0, le=1, description="Flag photos of which more than this share is white"
    )
    almost_uniform_below: float = Field(
        default=8.0,
        ge=0,
        description="Flag photos whose colours all vary less (standard deviation, of 255)",
    )
