"""Errors of the providers' SDKs, which are made alike, as errors of this project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from cannabis_ml.assistant.provider import QuestionRefusedError, RunStoppedError, TryAgainError
from cannabis_ml.text import one_line

_STOPS = {401, 402, 403, 404}
_LATER = {408, 409, 425, 429}
_USED_UP = ("insufficient_quota", "credit balance", "billing")
_TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2")


class _SDK(Protocol):
    """What both SDKs export."""

    @property
    def APIConnectionError(self) -> type[Exception]: ...  # noqa: N802
    @property
    def APIStatusError(self) -> type[Exception]: ...  # noqa: N802
    @property
    def APIError(self) -> type[Exception]: ...  # noqa: N802


@contextmanager
def translated(sdk: _SDK, model: str) -> Iterator[None]:
    """Raise errors of an SDK, and of a broken connection, as what they mean for a run.

    Args:
        sdk: The module `anthropic` or `openai`.
        model: Name of the model, for messages.

    Raises:
        TryAgainError: 408, 409, 429, 5xx, time-outs, connections that break, bodies cut short.
        RunStoppedError: 401, 402, 403, 404, and credit that is used up.
        QuestionRefusedError: Other status codes, such as 400 and 413.
    """
    try:
        yield
    except sdk.APIStatusError as error:
        raise _by_status(error, model) from error
    except sdk.APIConnectionError as error:
        # A time-out is one: the request may have been processed.
        raise TryAgainError(f"no reply from {model}: {one_line(error)}", None, True) from error
    except sdk.APIError as error:
        raise TryAgainError(
            f"a reply that cannot be read: {one_line(error)}", None, True
        ) from error
    except json.JSONDecodeError as error:
        raise TryAgainError(f"a reply that is cut short: {one_line(error)}", None, True) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _TRANSPORT:
            raise
        raise TryAgainError(f"the connection broke: {one_line(error)}", None, True) from error


def _by_status(error: Exception, model: str) -> Exception:
    status: int = getattr(error, "status_code", 0)
    text = one_line(error)
    if any(word in text.lower() for word in _USED_UP):
        return RunStoppedError(f"{model} is not paid for: {text}")
    if status in _STOPS:
        return RunStoppedError(f"{model} cannot be asked (status {status}): {text}")
    if status in _LATER or status >= 500:
        return TryAgainError(f"status {status}: {text}", _wait(error), False)
    return QuestionRefusedError(f"status {status}: {text}")


def _wait(error: Exception) -> float | None:
    """Seconds of `retry-after`."""
    response = getattr(error, "response", None)
    value = None if response is None else response.headers.get("retry-after")
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:  # a date, which no provider sends
        return None
