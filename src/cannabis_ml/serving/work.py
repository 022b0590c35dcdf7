"""Waiting for threads on behalf of a client: with a deadline, and only as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from cannabis_ml.serving.problems import ServiceError

Result = TypeVar("Result")


async def answered(
    request: Request, work: Coroutine[Any, Any, Result], deadline_seconds: float
) -> Result:
    """Wait for work, and drop it when nobody waits for it any more.

    Args:
        request: Its body was read.
        work: What to wait for; it is cancelled when time is up or the client leaves.
        deadline_seconds: From now on.

    Raises:
        ServiceError: 504 when time is up.
        ClientDisconnect: If the client left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait(
            {working, leaving}, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientDisconnect
        raise ServiceError(504, f"No answer within {deadline_seconds:g} s; try again later.")
    finally:
        for task in (working, leaving):
            task.cancel()
        # Work is dropped before whoever waits for a free place gets this one.
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
