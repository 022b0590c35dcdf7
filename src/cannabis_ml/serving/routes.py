"""The routes: photos in, reports out; what is served, and how the service is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.report import Report
from cannabis_ml.inference.report_json import PhotoReport, photo_report
from cannabis_ml.inference.router import Routed
from cannabis_ml.serving.dependencies import (
    Allowed,
    AnyCaller,
    Language,
    Person,
    language_of,
)
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.requests_log import BUNDLE, name_bundle
from cannabis_ml.serving.schemas import (
    BundleInfo,
    Classification,
    Health,
    RoutedReport,
    bundle_info,
    classification_json,
    health,
    routed_report,
)
from cannabis_ml.serving.state import Service
from cannabis_ml.serving.streams import HeldStream
from cannabis_ml.serving.uploads import FIELD, FORM, RAW, read_photo
from cannabis_ml.serving.work import answered, as_problems, let_in

EVENTS = "text/event-stream"

_NAMES_BUNDLE = {
    "headers": {BUNDLE: {"description": "Which bundle answered", "schema": {"type": "string"}}}
}
OF_PHOTOS = {200: _NAMES_BUNDLE, **responses(400, 401, 408, 413, 415, 422, 429, 503, 504)}
"""What every route answers that takes a photo."""

_PHOTO = {"type": "string", "format": "binary"}
PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "description": "A photo",
        "content": {
            **{kind: {"schema": _PHOTO} for kind in ("image/jpeg", "image/png", "image/webp", RAW)},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: _PHOTO},
                }
            },
        },
    }
}


router = APIRouter()


@router.post(
    "/v2/analyze", summary="Report on a photo, by the largest tier", responses=OF_PHOTOS,
    response_model=PhotoReport, openapi_extra=PHOTO_BODY,
)  # fmt: skip
async def analyze(
    request: Request, service: Allowed, person: Person, language: Language = None
) -> Response:
    """Confidence, alternatives, prediction sets and advice of the largest tier."""
    texts_in = language_of(language, service)

    def answer(loaded: LoadedBundle, photo: bytes) -> tuple[Report, str]:
        report = loaded.report(photo, loaded.tiers[-1], texts_in)
        return report, photo_report(report).model_dump_json(by_alias=True)

    return await _in_a_thread(request, service, person, answer)


@router.post(
    "/api/v1/classify", summary="Classes and probabilities, by the largest tier",
    response_model=Classification, responses=OF_PHOTOS, openapi_extra=PHOTO_BODY,
)  # fmt: skip
async def classify(request: Request, service: Allowed, person: Person) -> Response:
    """Every class with its probability, by the largest tier."""

    def answer(loaded: LoadedBundle, photo: bytes) -> tuple[Answer, str]:
        found = loaded.answer(photo, loaded.tiers[-1])
        return found, classification_json(found, loaded.bundle)

    return await _in_a_thread(request, service, person, answer)


@router.post(
    "/v2/analyze-mobile",
    summary="Report by the smallest tier that is sure enough",
    responses={
        **OF_PHOTOS,
        200: {**_NAMES_BUNDLE, "content": {EVENTS: {"schema": {"type": "string"}}}},
    },
    response_model=RoutedReport,
    openapi_extra=PHOTO_BODY,
)
async def analyze_mobile(
    request: Request, service: Allowed, person: Person, language: Language = None
) -> RoutedReport | StreamingResponse:
    """The tiers are asked in turn, until one is sure enough by the bundle's thresholds.

    With `Accept: text/event-stream` every answer is sent as it comes, as an event `report`;
    otherwise the final one.
    """
    texts_in = language_of(language, service)
    if EVENTS in request.headers.get("accept", ""):
        return await _events(request, service, person, texts_in)

    async def work(loaded: LoadedBundle, photo: bytes) -> RoutedReport:
        routed = await loaded.router(service.pool, texts_in).answer(photo)
        service.answered(photo, routed.answer, loaded)
        return routed_report(routed, loaded.bundle)

    return await let_in(request, service, person, work)


@router.get("/v2/bundle", summary="What answers", responses=responses(401, 422, 429))
async def bundle(service: Allowed, person: Person) -> BundleInfo:
    """Its classes, its tiers and its model card; of the bundle that answers this person."""
    return bundle_info(service.bundles.of(person).bundle)


@router.get("/healthz", summary="Whether the process lives")
async def healthz(service: AnyCaller) -> Health:
    """Answers as long as the process does."""
    return _health(service)


@router.get(
    "/readyz",
    summary="Whether the golden photos get their answers on this machine",
    responses=responses(503),
)
async def readyz(service: AnyCaller) -> Health:
    """Send photos here from this answer on."""
    if not service.is_ready:
        raise ServiceError(503, service.not_ready, {"retry-after": "5"})
    return _health(service)


def _health(service: Service) -> Health:
    served = service.bundles.served
    rival = None if served.challenger is None else served.challenger.bundle
    return health(served.champion.bundle, rival)


@router.get(
    "/metrics",
    summary="Counts, for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: AnyCaller) -> Response:
    """Requests, times, confidence and unknown photos per tier, in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _in_a_thread(
    request: Request,
    service: Service,
    person: str | None,
    answer: Callable[[LoadedBundle, bytes], tuple[Answer, str]],
) -> Response:
    """Let a request in, read its photo, and answer in a thread: also write the JSON there.

    The event loop of all requests does not wait for it, and what was checked when it was made is
    not checked again.
    """

    async def work(loaded: LoadedBundle, photo: bytes) -> Response:
        found, text = await service.pool.run(lambda: answer(loaded, photo))
        service.answered(photo, found, loaded)
        return Response(text, media_type="application/json")

    return await let_in(request, service, person, work)


async def _events(
    request: Request, service: Service, person: str | None, language: str
) -> HeldStream:
    """Answers as they come. The first is awaited, so that errors have a status of their own."""
    limits = service.settings.limits
    async with AsyncExitStack() as stack:
        stack.enter_context(service.admission.enter())
        loaded = stack.enter_context(service.bundles.lent(person))
        name_bundle(request.scope, loaded.id)
        photo = await read_photo(request, limits)
        routed = loaded.router(service.pool, language).stream(photo)
        await stack.enter_async_context(aclosing(routed))
        with as_problems():
            first = await answered(request, anext(routed), limits.deadline_seconds)
        events = _as_events(photo, first, routed, service, loaded)
        return HeldStream(events, EVENTS, stack.pop_all())


async def _as_events(
    photo: bytes,
    first: Routed,
    rest: AsyncIterator[Routed],
    service: Service,
    loaded: LoadedBundle,
) -> AsyncIterator[str]:
    bundle, routed = loaded.bundle, first
    yield _event(routed_report(routed, bundle))
    if not routed.final:
        async with asyncio.timeout(service.settings.limits.deadline_seconds):
            async for routed in rest:
                yield _event(routed_report(routed, bundle))
    service.answered(photo, routed.answer, loaded)


def _event(routed: RoutedReport) -> str:
    return f"event: report\ndata: {routed.model_dump_json(by_alias=True)}\n\n"
