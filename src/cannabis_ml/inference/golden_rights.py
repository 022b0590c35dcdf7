"""Under which licence the golden photos of a bundle are, and whom to name: they travel with it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

RIGHTS = "golden/rights.json"
"""File of a bundle; those of before it was written have none."""

UNKNOWN = "unknown"
"""Where no licence is known."""


class PhotoRights(BaseModel):
    """What may be done with one photo."""

    model_config = ConfigDict(frozen=True)  # a newer version may have more

    source: str = Field(description="Where it comes from, by the name that the project gives it")
    licence: str = Field(description="As the hub abbreviates it, or `unknown`")
    credit: str | None = Field(default=None, description="Whom to name, where that is known")


class GoldenRights(BaseModel):
    """`golden/rights.json`."""

    model_config = ConfigDict(frozen=True)

    photos: list[PhotoRights] = Field(description="In the order of golden/answers.json")
