"""Feedback over HTTP: taken in, acknowledged once it is on disk."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cannabis_ml.feedback.submission import Submission, check_classes, read_submission
from cannabis_ml.serving.dependencies import Allowed
from cannabis_ml.serving.feedback_desk import Desk, FeedbackDesk
from cannabis_ml.serving.feedback_schemas import FEEDBACK_BODY, FeedbackReceipt
from cannabis_ml.serving.feedback_uploads import read_feedback
from cannabis_ml.serving.learning_schemas import LearningStatus
from cannabis_ml.serving.problems import responses
from cannabis_ml.serving.state import Service

router = APIRouter(tags=["feedback"])


@router.post(
    "/v2/feedback",
    summary="A person's opinions on an answer",
    responses=responses(400, 401, 408, 413, 415, 422, 429, 503, 504),
    openapi_extra=FEEDBACK_BODY,
)
async def feedback(request: Request, service: Allowed, desk: Desk) -> FeedbackReceipt:
    """Acknowledged is what is on disk. The same submission may be sent any number of times.

    The photo's place, serial numbers and other metadata are removed; without `consent` its hash
    alone is kept. 408, 429, 503 and 504 mean: send the same again later.
    """
    limits = service.settings.limits
    with desk.admission.enter():
        given, photo = await read_feedback(request, limits)
        return await desk.work(
            request, lambda: _take(service, desk, given, photo), limits.deadline_seconds
        )


@router.get(
    "/v2/learning-status",
    summary="Totals of feedback, and whether to train anew",
    responses=responses(401, 429, 503, 504),
)
async def learning_status(request: Request, service: Allowed, desk: Desk) -> LearningStatus:
    """Totals of the store, the retrain decision with every reason, the last training, the champion.

    Some seconds old: it is made at most as often as `feedback.status_seconds` allows.
    """
    deadline = service.settings.limits.deadline_seconds
    return await desk.learning_status(request, service.loaded.bundle, deadline)


def _take(
    service: Service, desk: FeedbackDesk, given: bytes, photo: bytes | None
) -> FeedbackReceipt:
    submission = read_submission(given)
    _check_classes(submission, service)
    receipt = desk.store.add(submission, photo)
    return FeedbackReceipt(
        photo_id=receipt.photo_id,
        taken=receipt.taken,
        repeated=receipt.repeated,
        is_retry=receipt.is_retry,
    )


def _check_classes(submission: Submission, service: Service) -> None:
    """Hold opinions against the classes of the bundle that answered, if it is served here.

    What a phone kept since an older bundle is not refused for it: vetting judges it.
    """
    served, answered = service.bundles.served, submission.answered
    loaded = served.champion if answered is None else served.find(answered.bundle_id)
    if loaded is not None:
        check_classes(submission, loaded.bundle.taxonomy)
