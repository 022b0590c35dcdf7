"""Where feedback goes, and what it may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FeedbackSettings(BaseModel):
    """The store of feedback that the service writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str = Field(
        description="`sqlite:///path/to/feedback.db` or `postgresql://user@host/name`",
        examples=["sqlite:///feedback.db"],
    )
    photos: str | None = Field(
        default=None,
        description="Folder, or address that fsspec knows; null: beside the SQLite file",
    )
    threads: int = Field(
        default=2, ge=1, le=64, description="Threads that clean photos and write to the database"
    )
    waiting: int = Field(
        default=16,
        ge=0,
        description="Requests let in besides those that a thread works for; status 503 above",
    )
    opinions_per_photo: int = Field(
        default=1, ge=1, description="Of so many people; a photo then leaves the review queue"
    )
    training_record: Path | None = Field(
        default=None,
        description="What the bundle stage writes of each training:"
        " data/06_models/training_record.json",
    )
    champion: Path | None = Field(
        default=None, description="The champion's folder: data/06_models/champion"
    )
    decision: dict[str, Any] = Field(
        default_factory=dict,
        description="`retrain`, `vetting` and `audit` of parameters_feedback.yml, where they differ"
        " from the defaults",
    )
    status_seconds: float = Field(
        default=30.0, gt=0, description="So long a learning status is given before it is made anew"
    )
