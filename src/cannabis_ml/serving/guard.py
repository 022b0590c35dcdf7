"""Who may call, and how often."""

from __future__ import annotations

import hmac
import math
import time

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.settings import ServiceSettings, hash_key

KEY_HEADER = "x-api-key"


class Guard:
    """Checks the API key and the rate of a request.

    Args:
        settings: Hashes of keys, requests per minute, proxies.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._hashes = list(settings.key_hashes)
        self._admins = list(settings.admin_key_hashes)
        self._reviewers = [*settings.reviewer_key_hashes, *self._admins]
        self._proxies = set(settings.trusted_proxies)
        most = settings.limits.requests_per_minute
        self._rate = RateLimitItemPerMinute(most) if most else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, request: Request) -> None:
        """Let a request pass.

        Raises:
            ServiceError: 401 without a known key where keys are asked for, 429 above the rate.
        """
        self._count(self._caller(request))

    async def admin(self, request: Request) -> None:
        """Let a request pass that touches people's data.

        Raises:
            ServiceError: 401 without a known key, 403 with a key that may not, 429 above the rate.
        """
        self._privileged(request, self._admins, "admin_key_hashes")

    async def reviewer(self, request: Request) -> None:
        """Let a request pass that looks at photos which people sent.

        Raises:
            ServiceError: As `admin`.
        """
        self._privileged(request, self._reviewers, "reviewer_key_hashes")

    def key_of(self, request: Request) -> str:
        """The hash of the caller's key; empty where no keys are asked for, and nobody is known."""
        return _hash_of(request) if self._hashes else ""

    def _privileged(self, request: Request, keys: list[str], setting: str) -> None:
        found = _hash_of(request)
        if _is_among(found, keys):
            self._count(found)
        elif not keys:
            raise ServiceError(
                403, f"No key may do this here: set {setting} in the service's configuration."
            )
        elif _is_among(found, [*self._hashes, *self._reviewers]):
            raise ServiceError(403, f"This API key may not do this: it takes one of {setting}.")
        else:
            raise _unknown_key()

    def _count(self, caller: str) -> None:
        if self._rate is None or self._limiter.hit(self._rate, caller):
            return
        reset = self._limiter.get_window_stats(self._rate, caller).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        raise ServiceError(
            429,
            f"More than {self._rate.amount} requests a minute; try again in {seconds} s.",
            {"retry-after": str(seconds)},
        )

    def _caller(self, request: Request) -> str:
        """The hash of the key, or the address where no keys are asked for."""
        if not self._hashes:
            return self._address(request)
        found = _hash_of(request)
        if not _is_among(found, [*self._hashes, *self._reviewers]):
            raise _unknown_key()
        return found

    def _address(self, request: Request) -> str:
        address = request.client.host if request.client else "unknown"
        if address in self._proxies:
            forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            return forwarded or address
        return address


def _hash_of(request: Request) -> str:
    return hash_key(request.headers.get(KEY_HEADER, ""))


def _is_among(found: str, known: list[str]) -> bool:
    return sum(hmac.compare_digest(found, one) for one in known) > 0  # looks at all


def _unknown_key() -> ServiceError:
    return ServiceError(
        401,
        f"An API key in the header {KEY_HEADER} is needed, and this is none that is known.",
        {"www-authenticate": "ApiKey"},
    )
