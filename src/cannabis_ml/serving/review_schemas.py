"""What the routes of the review page answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from cannabis_ml.taxonomy import Head, Taxonomy

if TYPE_CHECKING:
    from cannabis_ml.feedback.review_queue import WaitingPhoto


class SuggestedHead(BaseModel):
    """What a model answers for one head."""

    label: str | list[str] | None = Field(
        description="A class; of a multilabel head those that are there; null: none was decided"
    )
    confidence: float | None = Field(description="Calibrated, in [0, 1]; null: unknown", ge=0, le=1)


class Suggestion(BaseModel):
    """What a model answers for a photo."""

    bundle_id: str
    tier: str
    heads: dict[str, SuggestedHead]


class QueuePhoto(BaseModel):
    """A photo that waits for an opinion."""

    photo_id: str = Field(description="For `/v2/photos` and `/v2/feedback`")
    kind: str = Field(
        description="Why, in a word: `audit`, `label_error`, `disagreement`, `uniform`, or how it"
        " was chosen to be labelled next"
    )
    reason: str = Field(description="Why, in words; it may name what models answer")
    blind: bool = Field(
        description="Accuracy is measured by it: show neither reason nor suggestion unasked, and"
        " send `seen_answer: false` unless they were shown"
    )
    suggestion: Suggestion | None = Field(description="null: no model was asked")


class QueuePage(BaseModel):
    """The first photos that wait for a person."""

    waiting: int = Field(description="Photos that wait, with those that are not listed", ge=0)
    heads: list[Head] = Field(description="Heads that can be labelled")
    names: dict[str, dict[str, str]] = Field(
        description="By language, what people read in place of the name of a head or class"
    )
    photos: list[QueuePhoto]


class Withdrawal(BaseModel):
    """What was taken back."""

    photo_id: str
    withdrawn: int = Field(description="Opinions; 0 where they had been taken back before", ge=0)


def queue_page(total: int, photos: list[WaitingPhoto], taxonomy: Taxonomy) -> QueuePage:
    """The answer to a request for the queue.

    Args:
        total: Photos that wait.
        photos: The first of them.
        taxonomy: Of the bundle that answers.
    """
    shown = [
        QueuePhoto(
            photo_id=one.photo_id,
            kind=one.kind,
            reason=one.reason,
            blind=one.blind,
            suggestion=None
            if one.suggestion is None
            else Suggestion.model_validate(one.suggestion.model_dump()),
        )
        for one in photos
    ]
    return QueuePage(waiting=total, heads=taxonomy.heads, names=taxonomy.names, photos=shown)
