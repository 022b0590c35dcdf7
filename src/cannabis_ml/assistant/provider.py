"""What every provider of language models does: answer one structured question about photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import AssistantError


@dataclass(frozen=True)
class Question:
    """One request.

    Attributes:
        system: Instructions that all questions of a task share.
        text: What is asked about these photos.
        photos: JPEG files, in order.
        answer: Form of the answer; its JSON schema goes along.
        most_tokens: Of the answer, at most.
    """

    system: str
    text: str
    photos: tuple[bytes, ...]
    answer: type[BaseModel]
    most_tokens: int


@cache
def schema_of(answer: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a form of answers; it must not be changed."""
    return answer.model_json_schema()


class Usage(BaseModel):
    """Tokens that a provider bills."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


def named(name: str) -> dict[str, str]:
    """The header that names a request."""
    return {"Idempotency-Key": name}


class Reply(BaseModel):
    """What came back for one question, before anything is checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(description="JSON, if the model kept to the form")
    usage: Usage
    ended: str = Field(description="Why the model stopped, in the provider's word")
    at: datetime
    batch: bool = Field(default=False, description="Whether it was asked in a batch")


class TryAgainError(AssistantError):
    """The provider is busy or out of reach; the same request may succeed later.

    Attributes:
        after: Seconds that the provider asks to wait; None where it does not say.
        may_be_billed: Whether the request may have been processed, as after a time-out.
    """

    def __init__(self, message: str, after: float | None, may_be_billed: bool) -> None:
        super().__init__(message)
        self.after = after
        self.may_be_billed = may_be_billed


class UndecidedError(AssistantError):
    """Whether a batch is the one that is looked for shows only when it has ended."""


class QuestionRefusedError(AssistantError):
    """The provider does not take this question (too large, not understood); others may pass."""


class RunStoppedError(AssistantError):
    """No question can be answered: the key is refused, the model unknown, or the credit used up."""


class Batches(Protocol):
    """Many questions at once, answered within a day and at a lower price."""

    def submit(self, questions: Mapping[str, Question], mark: str) -> str:
        """Send questions under their keys; the id of the batch."""

    def find(self, keys: frozenset[str], mark: str, since: datetime) -> str | None:
        """Find a batch that was sent, and whose id was lost; None if it was never made.

        Raises:
            UndecidedError: If a batch that is under way may be the one.
        """

    def has_ended(self, batch: str) -> bool:
        """Whether all results are there."""

    def results(self, batch: str) -> Iterator[tuple[str, Reply | str]]:
        """Key and reply of each question, or why it has none and was not billed."""


class Provider(Protocol):
    """A language model somewhere.

    All methods raise `TryAgainError`, `QuestionRefusedError` or `RunStoppedError`, and may be
    called from several threads.
    """

    @property
    def name(self) -> str:
        """Of whose models these are, such as `anthropic`."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def address(self) -> str:
        """Where requests go."""

    @property
    def batches(self) -> Batches | None:
        """None where there is no batch API."""

    def ask(self, question: Question, name: str) -> Reply:
        """Ask one question and wait for the reply.

        Args:
            question: The question.
            name: The same for every request that may be the same one again; sent as
                `Idempotency-Key`, for servers that bill such a request once.
        """

    def count_tokens(self, question: Question) -> int | None:
        """Tokens of a question, which is not answered; None where the server does not count."""
