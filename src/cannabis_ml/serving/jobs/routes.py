"""Batch jobs over HTTP."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from cannabis_ml.inference.language import tag_of
from cannabis_ml.serving.dependencies import Allowed, Language, language_of
from cannabis_ml.serving.feedback_desk import Desk
from cannabis_ml.serving.jobs.board import JobBoard
from cannabis_ml.serving.jobs.records import Result
from cannabis_ml.serving.jobs.schemas import JOB_BODY, LINES, ZIP, ZIP_FIELD, JobStatus
from cannabis_ml.serving.jobs.settings import JobSettings
from cannabis_ml.serving.jobs.unpacking import Sent, name_of, of_archive
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.streams import HeldStream
from cannabis_ml.serving.uploads import FIELD, FORM, counted, form_of, in_time, media_type_of

OF_JOBS = responses(401, 404, 422, 429, 503, 504)

_LINES_AT_ONCE = 50
_LOOK_S = 0.5
_PIECE = 1 << 20

JobId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{32}$", examples=["0f3c9c1e5d2b4a6f8e7d6c5b4a392817"])
]

router = APIRouter(tags=["jobs"])


@router.post(
    "/v2/jobs",
    status_code=202,
    summary="Answer many photos at leisure",
    responses={
        **responses(400, 401, 408, 413, 415, 422, 429, 503, 504),
        202: {"headers": {"Location": {"description": "Of the job", "schema": {"type": "string"}}}},
    },
    openapi_extra=JOB_BODY,
)
async def create_job(
    request: Request, response: Response, service: Allowed, desk: Desk, language: Language = None
) -> JobStatus:
    """Photos in fields `photo` of a form, or a zip of them. Live requests go first.

    A job survives the process that took it in, and can be asked for at any replica. A photo that
    cannot be read costs no other; its result has the reason. Place and serial numbers are removed
    before a photo is stored, and the photo is deleted once it is answered.
    """
    tag, owner = tag_of(language_of(language, service)), service.guard.key_of(request)
    board, left = desk.jobs, threading.Event()
    limits = service.settings.limits
    seconds = max(limits.deadline_seconds, board.settings.upload_seconds)
    with board.uploads.one():
        await desk.ask(board.check_room)
        async with _received(request, board.settings, limits.photo_bytes) as sent:
            try:
                made = asyncio.to_thread(board.make, sent, owner, tag, left)
                status = await desk.wait(request, made, seconds)
            finally:
                left.set()
    request.app.state.jobs.wake()
    response.headers["location"] = f"/v2/jobs/{status.id}"
    return status


@router.get("/v2/jobs/{job}", summary="How far a job is", responses=OF_JOBS)
async def job_status(job: JobId, request: Request, service: Allowed, desk: Desk) -> JobStatus:
    """State and progress."""
    owner = service.guard.key_of(request)
    deadline = service.settings.limits.deadline_seconds
    return await desk.work_if_room(request, lambda: desk.jobs.status(job, owner), deadline)


@router.delete(
    "/v2/jobs/{job}", status_code=204, summary="End a job and delete all of it", responses=OF_JOBS
)
async def delete_job(job: JobId, request: Request, service: Allowed, desk: Desk) -> None:
    """Photos that wait are not answered any more; results are gone."""
    owner = service.guard.key_of(request)
    deadline = service.settings.limits.deadline_seconds
    await desk.work_if_room(request, lambda: desk.jobs.delete(job, owner), deadline)


@router.get(
    "/v2/jobs/{job}/results",
    summary="Results of a job, as they come",
    response_class=StreamingResponse,
    responses={
        **OF_JOBS,
        200: {
            "description": "A JobResult per line",
            "content": {LINES: {"schema": {"type": "string"}}},
        },
    },
)
async def job_results(
    job: JobId,
    request: Request,
    service: Allowed,
    desk: Desk,
    after: Annotated[
        int, Query(ge=0, le=1_000_000, description="`place` of the last result that is known")
    ] = 0,
    follow: Annotated[bool, Query(description="Wait for those that are still to come")] = True,
) -> HeldStream:
    """A `JobResult` per line, in the order in which they came.

    Following ends with the job, or after some minutes: ask again with `after`.
    """
    board, owner = desk.jobs, service.guard.key_of(request)
    deadline = service.settings.limits.deadline_seconds
    await desk.work_if_room(request, lambda: board.status(job, owner), deadline)
    async with AsyncExitStack() as stack:
        stack.enter_context(board.streams.one())
        return HeldStream(_lines(board, (job, owner), after, follow), LINES, stack.pop_all())


async def _lines(
    board: JobBoard, which: tuple[str, str], after: int, follow: bool
) -> AsyncIterator[str]:
    until = time.monotonic() + board.settings.follow_seconds
    while True:
        row = await asyncio.to_thread(board.store.find, *which)
        found = await asyncio.to_thread(board.store.results, which[0], after, _LINES_AT_ONCE)
        for result in found:
            yield _line(result)
            after = result.place
        if len(found) == _LINES_AT_ONCE:
            continue
        if row is None or row.done >= row.photos or not follow or time.monotonic() > until:
            return
        await asyncio.sleep(_LOOK_S)


def _line(result: Result) -> str:
    place = {"place": result.place, "number": result.number, "name": result.name}
    return json.dumps({**place, **json.loads(result.content)}, ensure_ascii=False) + "\n"


@asynccontextmanager
async def _received(
    request: Request, settings: JobSettings, photo_bytes: int
) -> AsyncIterator[Iterator[Sent]]:
    """What was sent, on disk until the context ends; to be read in one thread."""
    kind = media_type_of(request)
    if kind == ZIP:
        with tempfile.TemporaryFile() as file:
            spooling = _spool(request, file, settings.total_bytes)
            await in_time(spooling, settings.upload_seconds)
            yield of_archive(file, settings.photos, photo_bytes, settings.total_bytes)
    elif kind == FORM:
        async with AsyncExitStack() as stack:
            parsing = stack.enter_async_context(
                form_of(request, settings.total_bytes, files=settings.photos + 1)
            )
            form = await in_time(parsing, settings.upload_seconds)
            yield _of_form(form, settings, photo_bytes)
    else:
        raise ServiceError(
            415, f"The body is {kind or 'of no type'}; send {ZIP}, or {FORM} with photos."
        )


async def _spool(request: Request, file: IO[bytes], most: int) -> None:
    waiting = bytearray()
    async for piece in counted(request, most):
        waiting += piece
        if len(waiting) >= _PIECE:
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))


def _of_form(form: FormData, settings: JobSettings, photo_bytes: int) -> Iterator[Sent]:
    for field, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise ServiceError(400, f"The form's field '{field:.40}' is not a file.")
        if field == ZIP_FIELD:
            yield from of_archive(value.file, settings.photos, photo_bytes, settings.total_bytes)
        elif field == FIELD:
            data = value.file.read(photo_bytes + 1)
            name = name_of(value.filename)
            if len(data) > photo_bytes:
                yield Sent(name, None, f"It is larger than {photo_bytes:,} bytes.")
            else:
                yield Sent(name, data)
        else:
            raise ServiceError(
                400, f"The form has a field '{field:.40}'; it takes '{FIELD}' and '{ZIP_FIELD}'."
            )
