"""What the routes of batch jobs take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from cannabis_ml.inference.report_json import PhotoReport
from cannabis_ml.serving.uploads import FIELD, FORM

LINES = "application/jsonl"

ZIP = "application/zip"

ZIP_FIELD = "zip"
"""Name of the form's field that holds an archive."""

JobState = Literal["waiting", "running", "done"]


class JobStatus(BaseModel):
    """A batch job."""

    id: str = Field(examples=["0f3c9c1e5d2b4a6f8e7d6c5b4a392817"])
    state: JobState
    photos: int = Field(description="How many were sent")
    done: int = Field(description="How many have a result")
    created_at: datetime
    expires_at: datetime = Field(description="The job and its results are gone afterwards")


class JobResult(BaseModel):
    """One line of results: a report, or why there is none."""

    place: int = Field(description="In the order in which results came, from 1 on")
    number: int = Field(description="In the order in which photos were sent, from 0 on")
    name: str = Field(description="Of the file as sent, without folders")
    bundle: str | None = Field(description="Which bundle answered")
    report: PhotoReport | None
    problem: str | None = Field(description="Why there is no report")


_PHOTO: dict[str, Any] = {"type": "string", "format": "binary"}

JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Photos, each in a field of its own, or an archive of them",
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "minProperties": 1,
                    "properties": {
                        FIELD: {"type": "array", "items": _PHOTO, "minItems": 1},
                        ZIP_FIELD: {**_PHOTO, "contentMediaType": ZIP},
                    },
                    "additionalProperties": False,
                }
            },
            ZIP: {"schema": _PHOTO},
        },
    }
}
