"""The route that draws what an answer rests on."""

from __future__ import annotations

import io

from fastapi import APIRouter, Request, Response

from cannabis_ml.serving.dependencies import Allowed, Person
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.routes import PHOTO_BODY
from cannabis_ml.serving.work import let_in

router = APIRouter()

_PNG = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}


@router.post(
    "/v2/heat-map",
    summary="Draw what the answer for a photo rests on",
    response_class=Response,
    responses={200: _PNG, **responses(400, 401, 404, 408, 413, 415, 422, 429, 503, 504)},
    openapi_extra=PHOTO_BODY,
)
async def heat_map(request: Request, service: Allowed, person: Person) -> Response:
    """The photo, tinted orange where the answers of the smallest tier rest on it.

    It asks the model some fifty times, so that the smallest tier draws.
    """

    async def work(loaded: LoadedBundle, photo: bytes) -> bytes | None:
        return await service.pool.run(lambda: _drawn(loaded, photo))

    drawn = await let_in(request, service, person, work)
    if drawn is None:
        raise ServiceError(404, "There is no answer with a class whose grounds could be drawn.")
    return Response(drawn, media_type="image/png", headers={"cache-control": "no-store"})


def _drawn(loaded: LoadedBundle, photo: bytes) -> bytes | None:
    found = loaded.heat_map(photo, loaded.tiers[0])
    if found is None:
        return None
    held = io.BytesIO()
    found.image.save(held, "PNG")
    return held.getvalue()
