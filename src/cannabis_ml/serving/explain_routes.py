"""The routes of explanations: whether there are any, and one for a photo."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from cannabis_ml.assistant.explaining import Explanation
from cannabis_ml.serving.dependencies import Allowed, AnyCaller, Person
from cannabis_ml.serving.explaining import ExplanationDesk
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.routes import PHOTO_BODY
from cannabis_ml.serving.work import let_in

router = APIRouter()

OFF = "Explanations are off: the service runs without `assistant` in its settings."

ExplanationLanguage = Annotated[
    str | None,
    Query(
        max_length=35,
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
        description="Any, as a BCP 47 tag; null: the service's",
    ),
]


class Explains(BaseModel):
    """Whether a language model explains answers here."""

    available: bool
    model: str | None = Field(description="Which one; it is sent the photo")


@router.get("/v2/explain", summary="Whether answers are explained here")
async def explains(request: Request, service: AnyCaller) -> Explains:
    """A page shows its button only then."""
    desk: ExplanationDesk | None = request.app.state.explaining
    return Explains(available=desk is not None, model=None if desk is None else desk.model)


@router.post(
    "/v2/explain",
    summary="Explain the answer for a photo in plain words",
    response_model=Explanation,
    responses=responses(400, 401, 404, 408, 413, 415, 422, 429, 503, 504),
    openapi_extra=PHOTO_BODY,
)
async def explain(
    request: Request, service: Allowed, person: Person, language: ExplanationLanguage = None
) -> Explanation:
    """Two or three sentences by a language model, which is sent the photo without its metadata.

    The report stands as it is. Advice comes from rules that people wrote, with their source.
    """
    desk: ExplanationDesk | None = request.app.state.explaining
    if desk is None:
        raise ServiceError(404, OFF)
    spoken = language or service.settings.language

    async def work(loaded: LoadedBundle, photo: bytes) -> Explanation:
        asked = await service.pool.run(lambda: desk.question(loaded, photo, spoken))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(desk.threads, desk.answer, asked)

    return await let_in(request, service, person, work)
