"""The routes: photos in, reports out; what is served, and how the service is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cannabis_ml.errors import RoutingError
from cannabis_ml.inference.language import languages, tag_of
from cannabis_ml.inference.report import Report
from cannabis_ml.inference.report_json import PhotoReport, photo_report
from cannabis_ml.inference.router import Routed
from cannabis_ml.photos.unreadable import UnreadableError
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.schemas import (
    BundleInfo,
    Classification,
    Health,
    RoutedReport,
    bundle_info,
    classification,
    routed_report,
)
from cannabis_ml.serving.state import Service
from cannabis_ml.serving.uploads import FIELD, RAW, read_photo
from cannabis_ml.serving.work import answered

Result = TypeVar("Result")

EVENTS = "text/event-stream"

OF_PHOTOS = responses(400, 401, 408, 413, 415, 422, 429, 503, 504)
"""Errors of every route that takes a photo."""

_PHOTO = {"type": "string", "format": "binary"}
PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "description": "A photo",
        "content": {
            **{kind: {"schema": _PHOTO} for kind in ("image/jpeg", "image/png", "image/webp", RAW)},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: _PHOTO},
                }
            },
        },
    }
}


async def service_of(request: Request) -> Service:
    """The process's service."""
    found: Service = request.app.state.service
    return found


async def allowed(request: Request, service: Annotated[Service, Depends(service_of)]) -> Service:
    """The service, for a caller who may use it."""
    await service.guard(request)
    return service


Allowed = Annotated[Service, Depends(allowed)]
Language = Annotated[
    str | None, Query(description=f"Of the texts: {', '.join(languages())}; null: the service's")
]

router = APIRouter()


@router.post(
    "/v2/analyze", summary="Report on a photo, by the largest tier", responses=OF_PHOTOS,
    openapi_extra=PHOTO_BODY,
)  # fmt: skip
async def analyze(request: Request, service: Allowed, language: Language = None) -> PhotoReport:
    """Confidence, alternatives, prediction sets and advice of the largest tier."""
    report = await _of_largest_tier(request, service, _language(language, service))
    return photo_report(report)


@router.post(
    "/api/v1/classify", summary="Classes and probabilities, by the largest tier",
    responses=OF_PHOTOS, openapi_extra=PHOTO_BODY,
)  # fmt: skip
async def classify(request: Request, service: Allowed) -> Classification:
    """Every class with its probability, by the largest tier."""
    report = await _of_largest_tier(request, service, service.settings.language)
    return classification(report, service.loaded.bundle)


@router.post(
    "/v2/analyze-mobile",
    summary="Report by the smallest tier that is sure enough",
    responses={
        **OF_PHOTOS,
        200: {"content": {EVENTS: {"schema": {"type": "string"}}}},
    },
    response_model=RoutedReport,
    openapi_extra=PHOTO_BODY,
)
async def analyze_mobile(
    request: Request, service: Allowed, language: Language = None
) -> RoutedReport | StreamingResponse:
    """The tiers are asked in turn, until one is sure enough by the bundle's thresholds.

    With `Accept: text/event-stream` every answer is sent as it comes, as an event `report`;
    otherwise the final one.
    """
    told = _language(language, service)
    if EVENTS in request.headers.get("accept", ""):
        return await _events(request, service, told)
    router = service.loaded.router(service.pool, told)
    routed = await _let_in(request, service, router.answer)
    service.metrics.observe_report(routed.answer)
    return routed_report(routed, service.loaded.bundle)


@router.get("/v2/bundle", summary="What answers", responses=responses(401, 429))
async def bundle(service: Allowed) -> BundleInfo:
    """Its classes, its tiers and its model card."""
    return bundle_info(service.loaded.bundle)


@router.get("/healthz", summary="Whether the process lives")
async def healthz(service: Annotated[Service, Depends(service_of)]) -> Health:
    """Answers as long as the process does."""
    return Health(bundle=service.loaded.id)


@router.get(
    "/readyz",
    summary="Whether the golden photos get their answers on this machine",
    responses=responses(503),
)
async def readyz(service: Annotated[Service, Depends(service_of)]) -> Health:
    """Send photos here from this answer on."""
    if not service.readiness.is_ready:
        raise ServiceError(503, service.readiness.reason, {"retry-after": "5"})
    return Health(bundle=service.loaded.id)


@router.get(
    "/metrics",
    summary="Counts, for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
    """Requests, times, confidence and unknown photos per tier, in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _language(asked: str | None, service: Service) -> str:
    if asked is None:
        return service.settings.language
    if tag_of(asked) not in languages():
        raise ServiceError(
            422, f"There are no texts in '{asked:.20}'; there are in {', '.join(languages())}."
        )
    return asked


async def _of_largest_tier(request: Request, service: Service, language: str) -> Report:
    """Let a request in, read its photo, and report on it in a thread."""
    loaded = service.loaded

    async def work(photo: bytes) -> Report:
        return await service.pool.run(lambda: loaded.report(photo, loaded.tiers[-1], language))

    report = await _let_in(request, service, work)
    service.metrics.observe_report(report)
    return report


async def _let_in(
    request: Request, service: Service, work: Callable[[bytes], Coroutine[Any, Any, Result]]
) -> Result:
    """Let a request in, read its photo, and wait for work on it as long as the client does."""
    limits = service.settings.limits
    with service.admission.enter():
        photo = await read_photo(request, limits)
        with _as_problems():
            return await answered(request, work(photo), limits.deadline_seconds)


@contextmanager
def _as_problems() -> Iterator[None]:
    """Errors of photos and tiers as what the client is told."""
    try:
        yield
    except UnreadableError as error:
        raise ServiceError(422, str(error)) from error
    except RoutingError as error:
        raise ServiceError(503, str(error), {"retry-after": "5"}) from error


async def _events(request: Request, service: Service, language: str) -> EventStream:
    """Answers as they come. The first is awaited, so that errors have a status of their own."""
    limits = service.settings.limits
    async with AsyncExitStack() as stack:
        stack.enter_context(service.admission.enter())
        photo = await read_photo(request, limits)
        routed = service.loaded.router(service.pool, language).stream(photo)
        await stack.enter_async_context(aclosing(routed))
        with _as_problems():
            first = await answered(request, anext(routed), limits.deadline_seconds)
        return EventStream(_as_events(first, routed, service), stack.pop_all())


async def _as_events(
    first: Routed, rest: AsyncIterator[Routed], service: Service
) -> AsyncIterator[str]:
    bundle, routed = service.loaded.bundle, first
    yield _event(routed_report(routed, bundle))
    if not routed.final:
        async with asyncio.timeout(service.settings.limits.deadline_seconds):
            async for routed in rest:
                yield _event(routed_report(routed, bundle))
    service.metrics.observe_report(routed.answer)


def _event(routed: RoutedReport) -> str:
    return f"event: report\ndata: {routed.model_dump_json(by_alias=True)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events; what they hold is released however the response ends.

    Args:
        events: Each in the format of the HTML standard.
        held: Released at the end.
    """

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack) -> None:
        super().__init__(
            events,
            media_type=EVENTS,
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()
