"""OpenAI's models through their SDK, and servers that speak its protocol.

llama.cpp, Ollama and vLLM all answer chat completions with a JSON schema; so questions are asked
that way, everywhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from cannabis_ml.assistant.provider import (
    Batches,
    Question,
    Reply,
    RunStoppedError,
    Usage,
    named,
    schema_of,
)
from cannabis_ml.assistant.sdk_errors import translated
from cannabis_ml.text import one_line

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_ENDED = {"completed", "expired", "cancelled", "failed"}
_CLOCKS_DIFFER = timedelta(minutes=10)


class OpenAIProvider:
    """Chat completions, token counting and batches.

    Args:
        model: Name of the model.
        key: API key; local servers take any.
        base_url: Address of a local server, such as `http://localhost:8080/v1`; None for OpenAI's.
        timeout: Seconds for one request.
    """

    name = "openai"

    def __init__(self, model: str, key: str, base_url: str | None, timeout: float) -> None:
        import openai

        self.model = model
        self._sdk = openai
        # OpenAI's newer models refuse the old name; servers elsewhere may not know the new one.
        self._limit = "max_completion_tokens" if base_url is None else "max_tokens"
        self._client = openai.OpenAI(api_key=key, base_url=base_url, timeout=timeout, max_retries=0)
        self.batches: Batches | None = _FileBatches(self._client, self._body, self)

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    def ask(self, question: Question, name: str) -> Reply:
        given = self._body(question)
        with self.errors():
            completion = self._client.chat.completions.create(**given, extra_headers=named(name))
            return _reply(completion, False)

    def count_tokens(self, question: Question) -> int | None:
        content = [
            *({"type": "input_image", "image_url": _uri(photo)} for photo in question.photos),
            {"type": "input_text", "text": question.text},
        ]
        asked: Any = [{"role": "user", "content": content}]
        form: Any = {"format": {"type": "json_schema", **_form(question)}}
        try:
            with self.errors():
                counted = self._client.responses.input_tokens.count(
                    model=self.model, instructions=question.system, input=asked, text=form
                )
        except RunStoppedError as error:
            if getattr(error.__cause__, "status_code", None) == 404:  # servers elsewhere
                return None
            raise
        return counted.input_tokens

    def errors(self) -> Any:
        return translated(self._sdk, self.model)

    def _body(self, question: Question) -> dict[str, Any]:
        photos = [
            {"type": "image_url", "image_url": {"url": _uri(photo)}} for photo in question.photos
        ]
        return {
            "model": self.model,
            self._limit: question.most_tokens,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": [*photos, {"type": "text", "text": question.text}]},
            ],
            "response_format": {"type": "json_schema", "json_schema": _form(question)},
        }


class _FileBatches:
    """Batches of a file: half the price, results within 24 hours."""

    def __init__(self, client: openai.OpenAI, body: Any, provider: Any) -> None:
        self._client = client
        self._body = body
        self._provider = provider

    def submit(self, questions: Mapping[str, Question], mark: str) -> str:
        lines = (
            json.dumps(
                {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": self._body(question)}
            )
            for key, question in questions.items()
        )
        with self._provider.errors():
            file = self._client.files.create(
                file=(f"{mark}.jsonl", "\n".join(lines).encode()), purpose="batch"
            )
            return self._client.batches.create(
                completion_window="24h",
                endpoint=_ENDPOINT,
                input_file_id=file.id,
                metadata={"mark": mark},
            ).id

    def find(self, keys: frozenset[str], mark: str, since: datetime) -> str | None:
        with self._provider.errors():
            for batch in self._client.batches.list(limit=100):
                if batch.created_at < (since - _CLOCKS_DIFFER).timestamp():
                    return None
                if (batch.metadata or {}).get("mark") == mark:
                    return batch.id
        return None

    def has_ended(self, batch: str) -> bool:
        with self._provider.errors():
            return self._client.batches.retrieve(batch).status in _ENDED

    def results(self, batch: str) -> Iterator[tuple[str, Reply | str]]:
        with self._provider.errors():
            found = self._client.batches.retrieve(batch)
            for file in filter(None, (found.output_file_id, found.error_file_id)):
                for line in self._client.files.content(file).text.splitlines():
                    yield self._result(json.loads(line))

    def _result(self, line: Any) -> tuple[str, Reply | str]:
        from openai.types.chat import ChatCompletion

        response, error = line.get("response"), line.get("error")
        if response and response["status_code"] == 200:
            return line["custom_id"], _reply(ChatCompletion.construct(**response["body"]), True)
        detail = error or (response or {}).get("body", {}).get("error") or {}
        return line["custom_id"], f"failed in the batch: {one_line(ValueError(str(detail)))}"


def _form(question: Question) -> dict[str, Any]:
    return {"name": "answer", "schema": schema_of(question.answer), "strict": True}


def _uri(photo: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


def _reply(completion: ChatCompletion, batch: bool) -> Reply:
    choice = completion.choices[0]
    usage = completion.usage
    return Reply(
        text=choice.message.content or "",
        usage=Usage(
            input_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else 0,
        ),
        ended=str(choice.finish_reason),
        at=datetime.now(UTC),
        batch=batch,
    )
