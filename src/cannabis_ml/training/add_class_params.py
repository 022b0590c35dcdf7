"""Parameters of adding classes to a trained network; no PyTorch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AddClassParams(BaseModel):
    """How a champion learns classes that it does not know yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["closed_form", "grow"] = Field(
        default="closed_form",
        description="closed_form: solve multiclass heads with other classes by ridge regression on"
        " embeddings, in seconds and without gradients; grow: one output more, old weights kept,"
        " trained on new photos and some old ones, the backbone frozen",
    )
    projection: int = Field(
        default=0,
        ge=0,
        description="closed_form: width of a random projection with a ReLU before it (RanPAC); 0:"
        " none. Every member of the head carries it: features × width × 4 bytes each",
    )
    seed: int = Field(default=0, ge=0, description="Of the projection, of the old photos chosen")
    rehearsal: int = Field(
        default=1000, ge=0, description="grow: old photos learned again, at most, balanced"
    )
    epochs: int = Field(default=3, ge=1, description="grow: passes over the photos")
    learning_rate: float = Field(
        default=1e-3, gt=0, description="grow: as of a training phase; heads times head_multiplier"
    )
    unfrozen_epochs: int = Field(
        default=0, ge=0, description="grow: further passes that train the top of the backbone too"
    )
    unfrozen_learning_rate: float = Field(default=2e-4, gt=0, description="grow: of these")
    last_blocks: int = Field(default=2, ge=1, description="grow: layers of the backbone they train")
