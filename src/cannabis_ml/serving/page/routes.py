"""The routes of the page, and of what it reads of the bundle."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.dependencies import Allowed, AnyCaller, Person
from cannabis_ml.serving.page.files import (
    ASK_AGAIN,
    FOR_ONE,
    FOREVER,
    HEADERS,
    NOT_BUILT,
    REVIEW,
    SERVICE_WORKER,
    SHELL,
    PageFile,
    PageFiles,
)
from cannabis_ml.serving.page.packing import (
    PackedBundle,
    files_for_pages,
    model_file,
    packed_file,
)
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.state import Service

router = APIRouter()

BundleId = Annotated[str, Path(description="SHA-256 of the manifest, as of `/v2/bundle`")]
TierName = Annotated[str, Path(description="A tier whose file is TFLite", examples=["tier1"])]


async def page_of(request: Request) -> PageFiles:
    """The process's page."""
    found: PageFiles = request.app.state.page
    return found


Page = Annotated[PageFiles, Depends(page_of)]


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def shell(request: Request, page: Page) -> Response:
    """The page; how to build it where it is not built."""
    return _shell(request, page, SHELL)


@router.api_route("/review", methods=["GET", "HEAD"], include_in_schema=False)
async def review(request: Request, page: Page) -> Response:
    """The review page; how to build it where it is not built."""
    return _shell(request, page, REVIEW)


@router.api_route(f"/{SERVICE_WORKER}", methods=["GET", "HEAD"], include_in_schema=False)
async def service_worker(
    request: Request, page: Page, service: AnyCaller, person: Person
) -> Response:
    """What keeps the page and a person's bundle for use without a network."""
    return _sent(request, page.service_worker(service.bundles.of(person).id), ASK_AGAIN)


@router.api_route("/manifest.webmanifest", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/page.json", methods=["GET", "HEAD"], include_in_schema=False)
async def about(request: Request, page: Page) -> Response:
    """What describes the page."""
    return _sent(request, _found(request, page, request.url.path.removeprefix("/")), ASK_AGAIN)


@router.api_route("/assets/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def asset(request: Request, page: Page, name: str) -> Response:
    """A file that never changes under its name."""

    def read() -> Response:  # some are of ten megabytes
        return _sent(request, _found(request, page, f"assets/{name}"), FOREVER)

    return await asyncio.to_thread(read)


@router.get(
    "/v2/bundles/{bundle}/page",
    summary="What a page that answers by itself needs besides the model files",
    response_model=PackedBundle,
    responses=responses(401, 404, 422, 429),
)
async def packed(request: Request, service: Allowed, bundle: BundleId) -> Response:
    """Manifest, model card, golden photos and their answers, and the smallest tier's rules."""
    found = await asyncio.to_thread(packed_file, _bundle(service, bundle))
    return found.response(request, FOR_ONE)


@router.get(
    "/v2/bundles/{bundle}/tiers/{tier}/page",
    summary="What a page needs of a larger tier besides its model file",
    response_model=PackedBundle,
    responses=responses(401, 404, 422, 429),
)
async def packed_tier(
    request: Request, service: Allowed, bundle: BundleId, tier: TierName
) -> Response:
    """Its rules and golden inputs."""
    found = _bundle(service, bundle)
    _file_for_pages(found, tier)
    packed = await asyncio.to_thread(packed_file, found, tier)
    return packed.response(request, FOR_ONE)


@router.get(
    "/v2/bundles/{bundle}/tiers/{tier}",
    summary="A model file that runs in a browser",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            }
        },
        **responses(401, 404, 422, 429),
    },
)
async def model(request: Request, service: Allowed, bundle: BundleId, tier: TierName) -> Response:
    """The TFLite file of a tier."""
    found = _bundle(service, bundle)
    file = await asyncio.to_thread(model_file, found, _file_for_pages(found, tier))
    return file.response(request, FOR_ONE)


def _bundle(service: Service, asked: str) -> Bundle:
    loaded = service.bundles.served.find(asked)
    if loaded is None:
        raise ServiceError(404, f"The bundle {asked:.64} is not served here; see /v2/bundle.")
    return loaded.bundle


def _file_for_pages(bundle: Bundle, tier: str) -> str:
    file = files_for_pages(bundle).get(tier)
    if file is None:
        raise ServiceError(404, f"This bundle has no tier '{tier:.40}' that runs in a browser.")
    return file.file


def _shell(request: Request, page: PageFiles, name: str) -> Response:
    found = _found(request, page, name)
    if found is None:
        return HTMLResponse(NOT_BUILT, 404, {**HEADERS, "cache-control": "no-store"})
    return found.response(request, ASK_AGAIN)


def _found(request: Request, page: PageFiles, path: str) -> PageFile | None:
    return page.get(path, request.headers.get("accept-encoding", ""))


def _sent(request: Request, file: PageFile | None, caching: str) -> Response:
    if file is None:
        raise ServiceError(404, "There is no such file.")
    return file.response(request, caching)
