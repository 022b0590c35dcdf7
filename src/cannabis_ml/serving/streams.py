"""Responses that are sent while they are made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class HeldStream(StreamingResponse):
    """What it holds is released however the response ends.

    Args:
        pieces: Of the body.
        media_type: Of the body.
        held: Released at the end.
    """

    def __init__(self, pieces: AsyncIterator[str], media_type: str, held: AsyncExitStack) -> None:
        super().__init__(
            pieces,
            media_type=media_type,
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()
