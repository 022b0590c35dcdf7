"""What may make a retraining due, its limits, and what was found of each."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ReasonName = Literal[
    "accuracy", "new_photos", "corrections", "class_error", "new_class", "drift", "age"
]

REASONS: tuple[ReasonName, ...] = (
    "accuracy",
    "class_error",
    "corrections",
    "new_class",
    "new_photos",
    "drift",
    "age",
)
"""In the order in which they are listed."""


class RetrainParams(BaseModel):
    """When to train anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy_drop: float = Field(
        default=0.05, ge=0, lt=1, description="How far accuracy may lie below its baseline"
    )
    class_error: float = Field(default=0.3, gt=0, lt=1, description="Error of a class")
    corrections_of_class: int = Field(default=200, ge=1, description="Corrections of one class")
    new_photos: int = Field(default=1000, ge=1, description="Photos with new labels")
    photos_of_new_class: int = Field(
        default=30, ge=2, description="Photos that people gave to a class which is not there yet"
    )
    people_for_new_class: int = Field(
        default=2, ge=1, description="People who have to have proposed a new class"
    )
    drift_photos: int = Field(
        default=100, ge=1, description="New photos from which a fall in confidence is acted on"
    )
    days: int = Field(default=30, ge=1, description="Age of the last training")
    confidence: float = Field(
        default=0.99, gt=0.5, lt=1, description="That a rate is beyond its limit, to act on it"
    )
    recent_days: int = Field(default=30, ge=1, description="What counts as recent feedback")
    min_photos: int = Field(
        default=30, ge=2, description="Judged photos below which no rate is compared"
    )

    def two_sided(self, photos: int, comparisons: int = 1) -> float:
        """Confidence of an interval one end of which errs as often as `confidence` allows.

        The decision is asked again and again as photos come, and what differs by chance fires
        sooner or later. Every doubling of the photos counts as one more comparison (Bonferroni).

        Args:
            photos: That the rate rests on.
            comparisons: Made at a time, such as one for each class.
        """
        doublings = math.log2(max(1.0, photos / self.min_photos))
        return 1 - 2 * (1 - self.confidence) / (comparisons * (1 + doublings))


class Reason(BaseModel):
    """One reason that was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ReasonName
    fires: bool
    text: str = Field(description="A sentence with the figures")
    head: str | None = None
    class_name: str | None = None
    value: float | None = Field(default=None, description="What was found; None: too few photos")
    low: float | None = Field(default=None, description="Lower end of its interval")
    high: float | None = Field(default=None, description="Upper end")
    limit: float = Field(description="From which on the reason fires")
    photos: int = Field(default=0, description="That the value rests on")


class RetrainDecision(BaseModel):
    """Whether to train anew and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrain: bool
    decided_at: datetime
    last_training: datetime | None = Field(description="None where no training is recorded")
    new_photos: int = Field(description="Photos with labels that the last training did not have")
    reasons: list[Reason] = Field(description="All that were looked at, those that fire first")

    @property
    def firing(self) -> list[Reason]:
        """The reasons to train anew."""
        return [reason for reason in self.reasons if reason.fires]
