"""Parameters of augmentation; the transforms themselves are in `photos/augment.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photos.augmentation_policy import Bounds, Policy
from cannabis_ml.text import Name, NormalNames

Factor = Annotated[float, Field(ge=0)]


class Guard(Bounds):
    """Limits that keep a label true, and the photos that they are for."""

    when: Literal["present", "always"] = Field(
        default="present",
        description="present: photos that have the label, or may have it because it is unknown; "
        "always: those without it too, where a transform could bring it about",
    )


class AugmentationParams(BaseModel):
    """How many copies of which training photos, and how they differ."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, description="Another seed makes other copies")
    copies: int = Field(default=5, ge=0, description="Copies per training photo; 0: none")
    workers: int | None = Field(default=None, gt=0, description="Workers; null: one per core")
    policy: Policy = Field(default_factory=Policy, description="The transforms")
    multipliers: Annotated[dict[Name, Annotated[dict[Name, Factor], NormalNames]], NormalNames] = (
        Field(
            default_factory=dict,
            description="head -> class -> factor on `copies`, as for rare classes; of several that "
            "apply to a photo the largest counts",
        )
    )
    guards: Annotated[dict[Name, Guard | None], NormalNames] = Field(
        default_factory=dict,
        description="`head` (every photo) or `head.class` -> limits on the transforms; of several "
        "that apply to a photo the tightest counts; null takes one of conf/base away",
    )
