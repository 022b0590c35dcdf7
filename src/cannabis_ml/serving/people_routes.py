"""A person's data: given out, and erased. For keys of admins alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cannabis_ml.feedback.fields import IDENTIFIER
from cannabis_ml.serving.dependencies import AnyCaller
from cannabis_ml.serving.feedback_desk import Desk, FeedbackDesk
from cannabis_ml.serving.problems import responses
from cannabis_ml.serving.state import Service

ZIP = "application/zip"
PIECE = 1 << 16

OF_PEOPLE = responses(401, 403, 404, 422, 429, 503, 504)


async def admin(request: Request, service: AnyCaller) -> Service:
    """The service, for a caller who may touch people's data."""
    await service.guard.admin(request)
    return service


Admin = Annotated[Service, Depends(admin)]
Pseudonym = Annotated[
    str,
    InPath(max_length=128, pattern=f"^{IDENTIFIER}$", examples=["p-5f0c7a11"]),
]


class ErasedCounts(BaseModel):
    """How much is gone for good."""

    opinions: int
    submissions: int
    photos: int = Field(description="That nobody else had sent")


router = APIRouter(tags=["people"])


@router.delete("/v2/people/{pseudonym}", summary="Erase a person's data", responses=OF_PEOPLE)
async def erase_person(
    pseudonym: Pseudonym, request: Request, service: Admin, desk: Desk
) -> ErasedCounts:
    """Submissions, opinions, the pseudonym, and photos that nobody else sent. Cannot be undone.

    Erasing once more erases nothing, and is not an error; what the person's phone sends later is
    refused.
    """
    deadline = service.settings.limits.deadline_seconds
    done = await desk.work_if_room(request, lambda: desk.store.erase_person(pseudonym), deadline)
    return ErasedCounts(opinions=done.opinions, submissions=done.submissions, photos=done.photos)


@router.get(
    "/v2/people/{pseudonym}",
    summary="All that the store has of a person",
    response_class=StreamingResponse,
    responses={
        **OF_PEOPLE,
        200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}},
    },
)
async def export_person(
    pseudonym: Pseudonym, request: Request, service: Admin, desk: Desk
) -> StreamingResponse:
    """A zip: `feedback.jsonl` with a submission per line, and the photos that were kept."""
    deadline = service.settings.limits.deadline_seconds
    packed = await desk.work_if_room(request, lambda: _packed(desk, pseudonym), deadline)
    headers = {
        "content-disposition": 'attachment; filename="feedback.zip"',
        "cache-control": "no-store",
    }
    return StreamingResponse(_pieces(packed), media_type=ZIP, headers=headers)


def _packed(desk: FeedbackDesk, pseudonym: str) -> IO[bytes]:
    """The export in a file that has no name, so that nothing is left however the request ends."""
    from cannabis_ml.feedback.exchange import export as write

    with tempfile.TemporaryDirectory(prefix="cannabis_ml_export_") as folder:
        write(desk.store, Path(folder) / "person", pseudonym)
        path = shutil.make_archive(f"{folder}/feedback", "zip", Path(folder) / "person")
        packed = tempfile.TemporaryFile()  # noqa: SIM115  # closed by who sends it
        with Path(path).open("rb") as made:
            shutil.copyfileobj(made, packed)
    packed.seek(0)
    return packed


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await run_in_threadpool(file.read, PIECE):
            yield piece
