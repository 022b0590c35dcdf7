"""What `GET /v2/learning-status` answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from cannabis_ml.feedback.retrain_reason import RetrainDecision


class ClassCount(BaseModel):
    """A class, and how often."""

    head: str
    class_name: str
    count: int


class StoreSummary(BaseModel):
    """Totals of all opinions that count, one per person, photo and head."""

    people: int
    photos: int
    photos_kept: int = Field(description="Whose pixels are there to learn from")
    submissions: int
    opinions: int
    by_verdict: dict[str, int]
    most_corrected: list[ClassCount] = Field(description="Answered classes, at most five")
    proposed: list[ClassCount] = Field(description="New classes, and by how many people")
    first: datetime | None = Field(description="When the first opinion was given")
    last: datetime | None = Field(description="When the last one was")


class LastTraining(BaseModel):
    """The last training."""

    at: datetime = Field(description="When its run started")
    bundle: str = Field(description="Id of the bundle that it made; empty: not known")
    feedback_photos: int = Field(description="Photos of feedback that it learned from")
    test_accuracy: dict[str, dict[str, float]] = Field(description="By tier and head")


class ChampionStatus(BaseModel):
    """What is in production."""

    bundle: str = Field(description="Id of the bundle")
    name: str
    created: str = Field(description="When the bundle was made, ISO 8601")
    since: datetime | None = Field(description="null where no promotion of it is recorded")
    by: str | None = Field(description="Who promoted it")
    reason: str | None = Field(description="Why")


class LearningStatus(BaseModel):
    """Totals of feedback, the retrain decision, the last training and the champion."""

    as_of: datetime = Field(description="When this was looked at; it may be some seconds old")
    store: StoreSummary
    decision: RetrainDecision
    last_training: LastTraining | None = Field(description="null where none is recorded")
    champion: ChampionStatus
