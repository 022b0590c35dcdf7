"""Photos that wait for a person's opinion, and taking opinions back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from cannabis_ml.feedback.fields import IDENTIFIER
from cannabis_ml.photos.data_uri import small_jpeg
from cannabis_ml.photos.decode import UnreadableError
from cannabis_ml.serving.dependencies import Allowed, AnyCaller
from cannabis_ml.serving.feedback_desk import Desk, FeedbackDesk
from cannabis_ml.serving.problems import ServiceError, responses
from cannabis_ml.serving.review_schemas import QueuePage, Withdrawal, queue_page
from cannabis_ml.serving.state import Service

MOST_PHOTOS = 200
QUALITY = 85

OF_REVIEW = (401, 403, 422, 429, 503, 504)

_JPEG = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}


async def reviewer(request: Request, service: AnyCaller) -> Service:
    """The service, for a caller who may see photos that people sent."""
    await service.guard.reviewer(request)
    return service


Reviewer = Annotated[Service, Depends(reviewer)]
Pseudonym = Annotated[
    str,
    Query(
        min_length=1,
        max_length=128,
        pattern=f"^{IDENTIFIER}$",
        description="Of who gives the opinions",
        examples=["p-5f0c7a11"],
    ),
]

router = APIRouter(tags=["review"])


@router.get("/v2/queue", summary="Photos worth a person's time", responses=responses(*OF_REVIEW))
async def review_queue(
    request: Request,
    service: Reviewer,
    desk: Desk,
    person: Pseudonym,
    limit: Annotated[int, Query(ge=1, le=MOST_PHOTOS, description="Photos at a time")] = 20,
) -> QueuePage:
    """What `label_next` and the draw of audits put up, those worth most first.

    A photo is left out that the person has an opinion on, or enough people have. Opinions go to
    `POST /v2/feedback`, with the `photo_id`.
    """
    enough = desk.settings.opinions_per_photo
    deadline = service.settings.limits.deadline_seconds
    total, photos = await desk.work_if_room(
        request, lambda: desk.store.waiting(person, enough, limit), deadline
    )
    return queue_page(total, photos, service.loaded.bundle.taxonomy)


@router.get(
    "/v2/photos/{photo_id}",
    summary="A photo that is up for review, small enough for a screen",
    response_class=Response,
    responses={200: _JPEG, **responses(404, *OF_REVIEW)},
)
async def review_photo(
    request: Request,
    service: Reviewer,
    desk: Desk,
    photo_id: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", examples=["ab" * 32])],
    side: Annotated[int, Query(ge=64, le=2048, description="Longer side in pixels")] = 1280,
) -> Response:
    """Upright, without any metadata; others than those up for review are not given out."""
    deadline = service.settings.limits.deadline_seconds
    found = await desk.work_if_room(request, lambda: _shown(desk, photo_id, side), deadline)
    if found is None:
        raise ServiceError(404, "This photo is not up for review.")
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(found, media_type="image/jpeg", headers=headers)


@router.delete(
    "/v2/feedback/{key}",
    summary="Take back what a person thought of an answer",
    responses=responses(401, 404, 422, 429, 503, 504),
)
async def withdraw_feedback(
    request: Request,
    service: Allowed,
    desk: Desk,
    key: Annotated[str, Path(max_length=128, pattern=f"^{IDENTIFIER}$", examples=["0b5e5e2c"])],
    person: Pseudonym,
) -> Withdrawal:
    """The opinions do not count any more; the person's former ones do again. Twice is once.

    It takes the submission's key, which only its sender knows, and the sender's pseudonym. The
    answer and the photo that came with it stay.
    """
    deadline = service.settings.limits.deadline_seconds
    done = await desk.work_if_room(request, lambda: desk.store.withdraw(person, key), deadline)
    return Withdrawal(photo_id=done.photo_id, withdrawn=done.opinions)


def _shown(desk: FeedbackDesk, photo_id: str, side: int) -> bytes | None:
    data = desk.store.queued_photo(photo_id)
    if data is None:
        return None
    try:
        return small_jpeg(data, side, QUALITY)
    except UnreadableError as error:
        raise ServiceError(404, f"This photo cannot be shown: {error}.") from error
