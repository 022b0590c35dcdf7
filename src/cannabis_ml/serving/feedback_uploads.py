"""Submissions out of requests: JSON, or a form with the photo beside it."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import UploadFile

from cannabis_ml.feedback.submission import MAX_BYTES
from cannabis_ml.serving.feedback_schemas import FEEDBACK_FIELD
from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.settings import Limits
from cannabis_ml.serving.uploads import (
    FIELD,
    FORM,
    body_of,
    file_bytes,
    form_of,
    in_time,
    media_type_of,
)

JSON = "application/json"


async def read_feedback(request: Request, limits: Limits) -> tuple[bytes, bytes | None]:
    """The submission of a request as JSON, and its photo.

    Args:
        request: Its body is JSON, or a form with the text field `feedback` and, unless the
            submission names a photo, the file field `photo`.
        limits: On bytes of the photo and on seconds.

    Returns:
        The JSON as sent; the photo's bytes, None where none was sent.

    Raises:
        ServiceError: 400 for a broken form or none that has the field, 408 if it does not arrive
            in time, 413 if it is too large, 415 for another type.
        ClientDisconnect: If the client left.
    """
    return await in_time(_read(request, limits.photo_bytes), limits.upload_seconds)


async def _read(request: Request, most: int) -> tuple[bytes, bytes | None]:
    kind = media_type_of(request)
    if kind == JSON:
        return await body_of(request, MAX_BYTES), None
    if kind != FORM:
        raise ServiceError(
            415,
            f"The body is {kind or 'of no type'}; send {JSON}, or {FORM} with the fields"
            f" '{FEEDBACK_FIELD}' and '{FIELD}'.",
        )
    async with form_of(request, most, MAX_BYTES) as form:
        given, photo = form.get(FEEDBACK_FIELD), form.get(FIELD)
        if isinstance(given, UploadFile):  # as JSON that a browser sends as a Blob
            text = await file_bytes(given, MAX_BYTES)
        elif given is not None:
            text = given.encode("utf-8", "surrogatepass")
        else:
            raise ServiceError(400, f"The form has no field '{FEEDBACK_FIELD}'.")
        if photo is not None and not isinstance(photo, UploadFile):
            raise ServiceError(400, f"The field '{FIELD}' is not a file.")
        return text, None if photo is None else await file_bytes(photo, most)
