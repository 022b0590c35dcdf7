"""What every request passes through: an id, headers for browsers, one line in the log."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cannabis_ml.serving.problems import problem

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
BUNDLE = "x-bundle"
"""Header of an answer: id of the bundle that gave it."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "permissions-policy": "geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Sent with every response that does not set its own."""

FAILED = "The service has a fault; its log has it, beside a line with this request's id."

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Observer = Callable[[Scope, int, float], None]


class RequestLog:
    """Gives each request an id, logs how it ended, and sends the security headers.

    Bodies, queries and addresses are not logged.

    Args:
        app: What answers.
        observe: Called with the scope, status and seconds of each finished request.
    """

    def __init__(self, app: ASGIApp, observe: Observer) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = _request_id(scope)
        start, status, size = time.perf_counter(), 0, 0

        async def sent(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = scope["request_id"]
                if BUNDLE in scope:
                    headers[BUNDLE] = scope[BUNDLE]
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            pass  # the client has left; the log has status 0
        except Exception:
            if status == 0:
                failed = problem(Request(scope), 500, FAILED, {})
                await failed(scope, receive, sent)
            raise  # the server logs where it came from
        finally:
            seconds = time.perf_counter() - start
            self._observe(scope, status, seconds)
            _log(scope, status, seconds, size)


def _request_id(scope: Scope) -> str:
    """The caller's, if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            given = value.decode("latin-1")
            if _GIVEN_ID.fullmatch(given):
                return given
    return secrets.token_hex(8)


def name_bundle(scope: Scope, bundle: str) -> None:
    """Let the response and the log name the bundle that answers a request."""
    scope[BUNDLE] = bundle


def route_of(scope: Scope) -> str:
    """The route's template, such as /v2/jobs/{job}; `other` where none was found.

    Paths as asked are endless, and may hold what nobody wants in a log.
    """
    return getattr(scope.get("route"), "path", "other")


def _log(scope: Scope, status: int, seconds: float, size: int) -> None:
    logger.info(
        "%s",
        json.dumps(
            {
                "request_id": scope["request_id"],
                "method": scope["method"],
                "route": route_of(scope),
                "status": status,
                "ms": round(1000 * seconds, 1),
                "bytes": size,
                **({"bundle": scope[BUNDLE][:12]} if BUNDLE in scope else {}),
            }
        ),
    )
