"""What a run asks, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ValidationError

from cannabis_ml.assistant.cache import Entry, key_of
from cannabis_ml.assistant.ledger import Doubt
from cannabis_ml.assistant.outgoing import PhotoSource, largest_photo, outgoing
from cannabis_ml.assistant.params import PhotoParams
from cannabis_ml.assistant.prompting import Prompt
from cannabis_ml.assistant.provider import Provider, Question, Reply, Usage
from cannabis_ml.feedback.submission import reasons_of

VALID_ATTEMPTS = 2
"""Replies that are paid for at most: the second where the first was not valid."""

_CUT = {"max_tokens", "length"}


@dataclass(frozen=True)
class Item:
    """A question that is still to be built from photos.

    Attributes:
        subject: What it is about, such as a photo's id.
        prompt: Rendered.
        answer: Form of the answer.
        most_tokens: Of the answer.
        photos: In the order in which they are shown.
    """

    subject: str
    prompt: Prompt
    answer: type[BaseModel]
    most_tokens: int
    photos: tuple[PhotoSource, ...]

    def question(self, params: PhotoParams) -> Question:
        """The question with its photos.

        Raises:
            UnreadableError, OSError: If one cannot be read.
        """
        return self._with(tuple(outgoing(photo, params) for photo in self.photos))

    def largest(self, params: PhotoParams) -> Question:
        """A question of as many tokens as this can have, with no photo of anybody."""
        return self._with(tuple(largest_photo(params.longest_side) for _ in self.photos))

    def key(self, provider: Provider, params: PhotoParams) -> str:
        """See `key_of`."""
        ids = ",".join(photo.photo_id for photo in self.photos)
        scaled = f"{ids} {params.longest_side} {params.quality}"
        asked = (provider.address, provider.model)
        return key_of(self._with(()), self.prompt.name, asked, scaled)

    def _with(self, photos: tuple[bytes, ...]) -> Question:
        return Question(self.prompt.system, self.prompt.text, photos, self.answer, self.most_tokens)


Status = Literal["answered", "failed", "not_asked"]


@dataclass(frozen=True)
class Outcome:
    """What came of one question.

    Attributes:
        item: The question.
        status: `failed`: asked as often as is allowed, or its photo cannot be read.
        answer: Validated; None unless answered.
        reply: The reply that the answer is from.
        reason: Why there is no answer.
        cached: Whether it was paid for in an earlier run.
    """

    item: Item
    status: Status
    answer: BaseModel | None = None
    reply: Reply | None = None
    reason: str = ""
    cached: bool = False


@dataclass(frozen=True)
class RunResult:
    """All outcomes of a run, in the order of its items, and what it cost.

    Attributes:
        outcomes: One per item.
        usage: Tokens of this run.
        usd: Dollars of this run, with what may have been billed without a reply.
        doubts: Requests that an earlier run had under way when it was killed: each may be billed
            for nothing, as its question is asked again.
        stopped: Why not everything was asked; None where it was.
    """

    outcomes: tuple[Outcome, ...]
    usage: Usage
    usd: float
    doubts: tuple[Doubt, ...]
    stopped: str | None

    def of(self, status: Status) -> list[Outcome]:
        """Outcomes of one status."""
        return [outcome for outcome in self.outcomes if outcome.status == status]

    @property
    def cached(self) -> int:
        """Answers that cost nothing now."""
        return sum(outcome.cached for outcome in self.outcomes)


def read_answer(item: Item, reply: Reply) -> tuple[BaseModel | None, str]:
    """The validated answer of a reply, or why it is not valid."""
    if reply.ended in _CUT:
        return None, f"the answer was cut at {item.most_tokens:,} tokens"
    try:
        return item.answer.model_validate_json(reply.text), ""
    except (ValidationError, ValueError, RecursionError) as error:
        reasons = reasons_of(error)[:3]
        return None, f"the answer is not valid ({reply.ended}): {'; '.join(reasons)}"


def outcome_of(item: Item, entry: Entry, cached: bool) -> Outcome | None:
    """What a kept entry says; None where one more reply may be asked for."""
    reason = ""
    for reply in entry.replies:
        answer, reason = read_answer(item, reply)
        if answer is not None:
            return Outcome(item, "answered", answer, reply, cached=cached)
    if len(entry.replies) < VALID_ATTEMPTS:
        return None
    return Outcome(item, "failed", reason=reason, cached=cached)


def longest(items: Sequence[Item]) -> Item:
    """The item with the longest prompt, and most photos."""
    return max(items, key=lambda item: (len(item.photos), len(item.prompt.text)))
