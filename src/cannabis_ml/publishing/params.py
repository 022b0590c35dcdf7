"""Parameters of publishing."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cannabis_ml.publishing.licences import licence_id

Licence = Annotated[str, AfterValidator(licence_id)]


class PublishingParams(BaseModel):
    """What may be published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_licences: tuple[Licence, ...] = Field(
        default=("apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "mit"),
        description="Licences of photos that are published, as the hub abbreviates them",
    )
    licences: dict[str, Licence] = Field(
        default_factory=dict,
        description="Source -> licence of its photos, where it names none for each photo",
    )
