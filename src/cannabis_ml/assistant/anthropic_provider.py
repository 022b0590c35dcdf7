"""Anthropic's models, through their SDK."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cannabis_ml.assistant.provider import (
    Batches,
    Question,
    Reply,
    UndecidedError,
    Usage,
    named,
    schema_of,
)
from cannabis_ml.assistant.sdk_errors import translated
from cannabis_ml.text import one_line

if TYPE_CHECKING:
    import anthropic
    from anthropic.types import Message

_CLOCKS_DIFFER = timedelta(minutes=10)


class AnthropicProvider:
    """Messages, token counting and Message Batches.

    Args:
        model: Name of the model.
        key: API key.
        base_url: Another address than Anthropic's; None for theirs.
        timeout: Seconds for one request.
    """

    name = "anthropic"

    def __init__(self, model: str, key: str, base_url: str | None, timeout: float) -> None:
        import anthropic

        self.model = model
        self._sdk = anthropic
        self._client = anthropic.Anthropic(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=0
        )
        self.batches: Batches | None = _MessageBatches(self._client, self._params, self)

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    def ask(self, question: Question, name: str) -> Reply:
        given = self._params(question)
        with self.errors():
            message = self._client.messages.create(**given, extra_headers=named(name))
            return _reply(message, batch=False)

    def count_tokens(self, question: Question) -> int | None:
        params = self._params(question)
        del params["max_tokens"]
        with self.errors():
            return self._client.messages.count_tokens(**params).input_tokens

    def errors(self) -> Any:
        return translated(self._sdk, self.model)

    def _params(self, question: Question) -> dict[str, Any]:
        photos = [
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/jpeg",
                    "data": base64.b64encode(photo).decode(),
                },
            }
            for photo in question.photos
        ]
        schema = self._sdk.transform_schema(schema_of(question.answer))
        return {
            "model": self.model,
            "max_tokens": question.most_tokens,
            "system": question.system,
            "messages": [
                {"role": "user", "content": [*photos, {"type": "text", "text": question.text}]}
            ],
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        }


class _MessageBatches:
    """Message Batches: half the price, results within 24 hours."""

    def __init__(self, client: anthropic.Anthropic, params: Any, provider: Any) -> None:
        self._batches = client.messages.batches
        self._params = params
        self._provider = provider

    def submit(self, questions: Mapping[str, Question], mark: str) -> str:
        requests: Any = [
            {"custom_id": key, "params": self._params(question)}
            for key, question in questions.items()
        ]
        with self._provider.errors():
            return str(self._batches.create(requests=requests).id)

    def find(self, keys: frozenset[str], mark: str, since: datetime) -> str | None:
        """See `Batches.find`; such a batch shows its keys only once it has ended."""
        with self._provider.errors():
            for batch in self._batches.list(limit=100):
                if batch.created_at < since - _CLOCKS_DIFFER:
                    return None
                counts = batch.request_counts
                total = sum(counts.model_dump().values())
                if total != len(keys):
                    continue
                if batch.processing_status != "ended":
                    raise UndecidedError(
                        f"batch {batch.id} may be the one that was sent; it has not ended yet"
                    )
                if {each.custom_id for each in self._batches.results(batch.id)} == keys:
                    return batch.id
        return None

    def has_ended(self, batch: str) -> bool:
        with self._provider.errors():
            return self._batches.retrieve(batch).processing_status == "ended"

    def results(self, batch: str) -> Iterator[tuple[str, Reply | str]]:
        with self._provider.errors():
            for one in self._batches.results(batch):
                result = one.result
                if result.type == "succeeded":
                    yield one.custom_id, _reply(result.message, batch=True)
                else:
                    error = getattr(result, "error", None)
                    detail = f": {one_line(ValueError(error.error.message))}" if error else ""
                    yield one.custom_id, f"{result.type} in the batch{detail}"


def _reply(message: Message, batch: bool) -> Reply:
    usage = message.usage
    # What was read from or written to a cache is billed as input too.
    tokens = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    tokens += usage.cache_creation_input_tokens or 0
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        usage=Usage(input_tokens=tokens, output_tokens=usage.output_tokens),
        ended=str(message.stop_reason),
        at=datetime.now(UTC),
        batch=batch,
    )
