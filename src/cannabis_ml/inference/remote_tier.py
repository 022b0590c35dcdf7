"""A tier on another machine, over HTTP: time-outs, retries with jitter, a circuit breaker."""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannabis_ml.errors import ConfigError, TierUnavailableError
from cannabis_ml.inference.router import TierAnswer

if TYPE_CHECKING:
    import httpx

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass. With any other, this photo will never be answered."""

MOST_BYTES = 1 << 20
"""Of a response; a longer one is not an answer."""

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class CircuitBreaker:
    """Stops asking what keeps failing, and tries again with one request after a while.

    Thread-safe.

    Args:
        failures: In a row, after which it opens.
        cooldown: Seconds it stays open before one request may try.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        failures: int = 5,
        cooldown: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._cooldown, self._clock = failures, cooldown, clock
        self._lock = threading.Lock()
        self._failed = 0
        self._closed_again_at: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether requests are held back; also while one tries."""
        with self._lock:
            return self._closed_again_at is not None

    def allows(self) -> bool:
        """Whether to ask now; who is allowed must call `succeeded`, `failed` or `forget`."""
        with self._lock:
            if self._closed_again_at is None:
                return True
            if self._trying or self._clock() < self._closed_again_at:
                return False
            self._trying = True
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failed, self._closed_again_at, self._trying = 0, None, False

    def failed(self) -> None:
        with self._lock:
            self._failed += 1
            was_open = self._closed_again_at is not None
            if self._trying or (not was_open and self._failed >= self._limit):
                self._closed_again_at = self._clock() + self._cooldown
                self._trying = False

    def forget(self) -> None:
        """The request was given up by its caller: neither a success nor a failure."""
        with self._lock:
            self._trying = False


class RemoteTier:
    """A tier that is asked by POST; belongs to one event loop.

    Args:
        name: As in the rule.
        url: Takes the photo as the body.
        deadline: Seconds for one photo, all tries and waits together.
        timeout: Seconds for one try.
        tries: At most.
        at_once: Requests in flight; others wait, within their deadline.
        breaker: None takes one of its own.
        encode: Makes the body; the default takes bytes, or the path of a file.
        decode: Makes the answer of the parsed JSON; the default takes an object with `answer`,
            `score` and, if known, `unknown` and `decided`.
        headers: Sent along, such as an authorization.
        client: None takes one of its own; a given one is not closed.
        seed: Of the jitter; None draws differently each time, as many clients should.

    Raises:
        ConfigError: If httpx is not installed.
    """

    def __init__(  # noqa: PLR0913
        self,
        name: str,
        url: str,
        *,
        deadline: float = 10.0,
        timeout: float = 5.0,
        tries: int = 3,
        at_once: int = 32,
        breaker: CircuitBreaker | None = None,
        encode: Callable[[Any], bytes] | None = None,
        decode: Callable[[Any], TierAnswer] | None = None,
        headers: dict[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
        seed: int | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ConfigError(
                f"httpx is not installed ({error}): pip install 'cannabis_ml[remote]'."
            ) from error
        self.name, self.url = name, url
        self.breaker = breaker or CircuitBreaker()
        self._deadline, self._tries = deadline, tries
        self._encode, self._decode = encode or _body, decode or _answer
        self._headers = {"content-type": "application/octet-stream", **(headers or {})}
        self._free = asyncio.Semaphore(at_once)
        self._owns_client = client is None
        self._client = client or httpx.AsyncClient(timeout=timeout)
        self._failures = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
        self._random = random.Random(seed)

    async def ask(self, photo: Any) -> TierAnswer:
        body = await asyncio.to_thread(self._encode, photo)
        ends = asyncio.get_running_loop().time() + self._deadline
        try:
            async with asyncio.timeout_at(ends):
                await self._free.acquire()
        except TimeoutError as error:
            raise self._late() from error
        try:
            return await self._ask(body, ends)
        finally:
            self._free.release()

    async def _ask(self, body: bytes, ends: float) -> TierAnswer:
        reason = ""
        for attempt in range(self._tries):
            if not self.breaker.allows():
                raise TierUnavailableError(
                    reason or f"{self.name} has failed repeatedly and is left alone for a while."
                )
            wait = 0.0
            try:
                async with asyncio.timeout_at(ends):
                    status, wait, data = await self._post(body)
            except TimeoutError as error:
                self.breaker.failed()
                raise self._late() from error
            except self._failures as error:
                self.breaker.failed()
                reason = f"{self.name}: {type(error).__name__} {error}".rstrip()
            except BaseException:  # the caller left
                self.breaker.forget()
                raise
            else:
                if status == 200:
                    return self._read(data)
                if status not in RETRIED:
                    self.breaker.succeeded()  # it is there, and refuses this photo
                    raise TierUnavailableError(f"{self.name} refused the photo: status {status}.")
                self.breaker.failed()
                reason = f"{self.name}: status {status}"
            if attempt < self._tries - 1:
                wait = max(wait, self._jittered(attempt))
                if asyncio.get_running_loop().time() + wait >= ends:
                    raise TierUnavailableError(f"{reason}, and no time to try again.")
                await asyncio.sleep(wait)
        raise TierUnavailableError(f"{reason}, after {self._tries} tries.")

    def _late(self) -> TierUnavailableError:
        return TierUnavailableError(f"{self.name} did not answer within {self._deadline:g} s.")

    async def _post(self, body: bytes) -> tuple[int, float, bytes]:
        """Status, seconds it asks to wait, and the body of an answer."""
        async with self._client.stream(
            "POST", self.url, content=body, headers=self._headers
        ) as response:
            if response.status_code != 200:
                return response.status_code, _seconds(response.headers.get("retry-after")), b""
            data = bytearray()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > MOST_BYTES:
                    break
            return 200, 0.0, bytes(data)

    def _read(self, data: bytes) -> TierAnswer:
        try:
            if len(data) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
            answer = self._decode(json.loads(data))
        except (ValueError, KeyError, TypeError) as error:
            self.breaker.failed()
            raise TierUnavailableError(f"{self.name} gave no answer: {error!r}.") from error
        self.breaker.succeeded()
        return answer

    def _jittered(self, attempt: int) -> float:
        """Full jitter: anything up to a bound that doubles, so that clients do not come at once."""
        return self._random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt))

    async def aclose(self) -> None:
        """Close the client, if it is the tier's own."""
        if self._owns_client:
            await self._client.aclose()


def _body(photo: Any) -> bytes:
    if isinstance(photo, str | Path):
        return Path(photo).read_bytes()
    if isinstance(photo, bytes):
        return photo
    raise ConfigError(
        f"A remote tier takes the bytes of a photo or its path, not {type(photo).__name__}; give it"
        " `encode`."
    )


def read_answer(value: Any, answer: Any) -> TierAnswer:
    """What a server answered, see `TierAnswer.as_json`.

    Args:
        value: Parsed JSON: an object with `score` and, if known, `unknown` and `decided`.
        answer: To hand on.

    Raises:
        ValueError: If a score is not finite.
        KeyError: If it has no score.
    """
    score, unknown = float(value["score"]), value.get("unknown")
    unknown = None if unknown is None else float(unknown)
    if not math.isfinite(score) or not math.isfinite(unknown or 0.0):
        raise ValueError("a score that is not finite")
    return TierAnswer(answer, score, unknown, value.get("decided"))


def _answer(value: Any) -> TierAnswer:
    return read_answer(value, value["answer"])


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; its other form, a date, counts as nothing."""
    return float(header) if header is not None and header.isdecimal() else 0.0
