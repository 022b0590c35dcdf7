"""What the routes of feedback take and answer; the OpenAPI document is made of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cannabis_ml.feedback.submission import Submission
from cannabis_ml.serving.uploads import FORM

FEEDBACK_FIELD = "feedback"
"""Name of the form's field that holds a submission as JSON."""

EXAMPLE: dict[str, Any] = {
    "key": "0b5e5e2c-8c6f-4a8e-9d54-2f6f1d0c7a11",
    "person": "p-5f0c7a11",
    "at": "2026-05-01T12:00:00Z",
    "photo_id": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "seen_answer": True,
    "answered": {
        "bundle_id": "1c7f0d6e",
        "tier": "tier1",
        "decision": "accepted",
        "heads": {"product_type": {"label": "hash", "confidence": 0.91, "probs": {"hash": 0.91}}},
    },
    "opinions": [
        {
            "head": "product_type",
            "verdict": "corrected",
            "label": "extract",
            "confidence": 0.8,
        }
    ],
    "region": "ES",
    "metadata": {"strain": "unknown"},
}


class FeedbackReceipt(BaseModel):
    """What became of a submission; it is on disk."""

    photo_id: str = Field(description="Of the photo in the store, SHA-256")
    taken: int = Field(description="Opinions that are new")
    repeated: int = Field(description="Opinions that the person had given before: they count once")
    is_retry: bool = Field(description="Whether the same submission, by its key, had come before")


_FORM = {
    "type": "object",
    "required": [FEEDBACK_FIELD, "photo"],
    "properties": {
        FEEDBACK_FIELD: {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": f"#/components/schemas/{Submission.__name__}"},
            "description": "The submission, without `photo_id`",
        },
        "photo": {"type": "string", "format": "binary"},
    },
}

FEEDBACK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A submission that names a photo by its hash, or a submission and its photo",
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{Submission.__name__}"},
                "example": EXAMPLE,
            },
            FORM: {
                "schema": _FORM,
                "encoding": {FEEDBACK_FIELD: {"contentType": "application/json, text/plain"}},
            },
        },
    }
}
