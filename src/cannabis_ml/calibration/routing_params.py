"""Parameters of routing, without SciPy."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.confidence import ScoreName
from cannabis_ml.inference.routing import FIXED, TierCost

Threshold = Annotated[float, Field(ge=0, le=1)]


class RoutingParams(BaseModel):
    """What is promised of accepted answers, and what asking a tier costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str | None = Field(
        default=None,
        description="Multiclass or ordinal head whose answer decides; null takes the first",
    )
    score: ScoreName | None = Field(
        default="max_probability",
        description="Routing score; null takes the one with the lowest AUGRC on validation photos,"
        " mean over tiers",
    )
    error_rate: float = Field(
        default=0.05, gt=0, lt=1, description="Largest share of accepted answers that is wrong"
    )
    confidence: float = Field(
        default=0.95, gt=0, lt=1, description="How often such a promise is to be kept"
    )
    by_class: bool = Field(
        default=False,
        description="Also promise the error rate among the answers of each class that has"
        " `fewest` groups of photos, with thresholds of its own",
    )
    fewest: int = Field(default=50, ge=1)
    fixed: list[Threshold] = Field(
        default=list(FIXED),
        description="Thresholds of the tiers before the last, on the calibrated probability, where"
        " the error rate cannot be promised",
    )
    costs: dict[str, TierCost] = Field(
        default_factory=dict,
        description="Of asking a tier about one photo, by its name; others cost nothing",
    )
    weights: TierCost = Field(
        default_factory=lambda: TierCost(milliseconds=1.0),
        description="How much one unit of each cost counts",
    )
    unanswered: float | None = Field(
        default=None,
        ge=0,
        description="Cost of a photo without an accepted answer besides that of asking all tiers,"
        " by the same weights; null takes as much again",
    )
    seed: int = Field(default=0, ge=0, description="Of the photo that counts in each group")
