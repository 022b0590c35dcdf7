"""Where feedback goes, and what it may cost."""

from __future__ import annotations

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
