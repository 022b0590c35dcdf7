"""Photos that wait for a person's opinion: what is put up, and what is given out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.fields import ClassName, FreeText, PhotoId
from cannabis_ml.feedback.submission import Answered

Source = Literal["audit", "label_next", "label_error", "assistant"]
"""Who puts photos up: the draw of audits, what to label next, probable label errors, and a language
model."""

SOURCES: tuple[Source, ...] = get_args(Source)

MOST_ENTRIES = 2000
"""That one source may have up at a time."""

Kind = Annotated[ClassName, Field(max_length=32)]
Reason = Annotated[FreeText, Field(max_length=500)]


class QueueEntry(BaseModel):
    """One photo that is put up by one source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo_id: PhotoId = Field(description="Of the store, or SHA-256 of the file at `path`")
    path: str = Field(default="", description="Where it is read from if the store lacks it")
    source: Source
    rank: int = Field(ge=1, description="Within its source, 1 is looked at first")
    kind: Kind = Field(description="Why, in a word, such as `margin`")
    reason: Reason = Field(description="Why, in words; it may name what models answer")
    blind: bool = Field(
        default=False, description="Whether it is to be judged before the suggestion is seen"
    )
    suggestion: Answered | None = Field(default=None, description="What a model answers")


class QueueList(BaseModel):
    """All that some sources put up now; it takes the place of what they had put up before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Source, ...]
    entries: tuple[QueueEntry, ...] = Field(max_length=len(SOURCES) * MOST_ENTRIES)


@dataclass(frozen=True)
class Filled:
    """What became of a list.

    Attributes:
        waiting: Photos of it that are up.
        added: Photos among them that the store had to take in.
        left_out: Photos that cannot be read, are too large, or were erased.
    """

    waiting: int
    added: int
    left_out: int


@dataclass(frozen=True)
class WaitingPhoto:
    """A photo that waits for one person.

    Attributes:
        photo_id: Id in the store.
        kind: See `QueueEntry`.
        reason: See `QueueEntry`.
        blind: Whether any source wants it judged before the suggestion is seen.
        suggestion: What a model answers; None where nothing is known.
    """

    photo_id: str
    kind: str
    reason: str
    blind: bool
    suggestion: Answered | None
