"""Work for a client: let in, with a deadline, and only as long as the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from cannabis_ml.errors import RoutingError
from cannabis_ml.photos.unreadable import UnreadableError
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.requests_log import name_bundle
from cannabis_ml.serving.state import Service
from cannabis_ml.serving.uploads import read_photo

Result = TypeVar("Result")


async def let_in(
    request: Request,
    service: Service,
    person: str | None,
    work: Callable[[LoadedBundle, bytes], Coroutine[Any, Any, Result]],
) -> Result:
    """Let a request in, read its photo, and wait for work on it as long as the client does.

    Args:
        request: Has a photo as its body.
        service: Lets it in.
        person: Who asks, see `ServedBundles.of`.
        work: Called with the bundle that answers, and the photo.

    Raises:
        ServiceError: 503 if there is no room, or as `read_photo`, `as_problems` and `answered`.
        ClientDisconnect: If the client left.
    """
    limits = service.settings.limits
    with service.admission.enter(), service.bundles.lent(person) as loaded:
        name_bundle(request.scope, loaded.id)
        photo = await read_photo(request, limits)
        with as_problems():
            return await answered(request, work(loaded, photo), limits.deadline_seconds)


@contextmanager
def as_problems() -> Iterator[None]:
    """Turn errors of photos and tiers into responses."""
    try:
        yield
    except UnreadableError as error:
        raise ServiceError(422, str(error)) from error
    except RoutingError as error:
        raise ServiceError(503, str(error), {"retry-after": "5"}) from error


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
