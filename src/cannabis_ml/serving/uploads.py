"""Photos out of requests: as the body itself, or as a field of a form; counted while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.settings import Limits

Result = TypeVar("Result")

FIELD = "photo"
"""Name of the form's field that holds a photo."""

RAW = "application/octet-stream"
FORM = "multipart/form-data"

_FORM_EXTRA = 64 << 10
"""Bytes of a form besides its photo."""

_SPOOLED_OF_MANY = 64 << 10
"""Bytes of one of many files that are held in memory; the rest is on disk."""

_PART_HEADERS = 4 << 10
"""Bytes around each file of a form."""


async def read_photo(request: Request, limits: Limits) -> bytes:
    """The photo of a request.

    Args:
        request: Its body is an image of any type, `application/octet-stream`, or a form with the
            file field `photo`.
        limits: On bytes and seconds.

    Raises:
        ServiceError: 400 for a broken form or none that has the field, 408 if it does not arrive
            in time, 413 if it is too large, 415 for another type, 422 for an empty photo.
        ClientDisconnect: If the client left.
    """
    data = await in_time(_read(request, limits), limits.upload_seconds)
    if not data:
        raise ServiceError(422, "The photo is empty.")
    return data


async def in_time(reading: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Wait for a body.

    Raises:
        ServiceError: 408 if it does not arrive in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError as error:
        raise ServiceError(
            408,
            f"The body did not arrive within {seconds:g} s; send a smaller one.",
            {"connection": "close"},
        ) from error


def media_type_of(request: Request) -> str:
    """Type of the body, in lower case and without parameters."""
    return request.headers.get("content-type", RAW).partition(";")[0].strip().lower()


async def body_of(request: Request, most: int) -> bytes:
    """The body itself.

    Raises:
        ServiceError: 413 above so many bytes.
    """
    data = bytearray()
    async for piece in counted(request, most):
        data += piece
    return bytes(data)


async def counted(request: Request, most: int) -> AsyncGenerator[bytes]:
    """The body, as long as it is within the limit: by its header, and as it comes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise too_large(most)
    came = 0
    async for piece in request.stream():
        came += len(piece)
        if came > most:
            raise too_large(most)
        yield piece


@asynccontextmanager
async def form_of(
    request: Request, most: int, text_bytes: int = _FORM_EXTRA, files: int = 1
) -> AsyncIterator[FormData]:
    """The body as a form; its files are gone afterwards.

    Args:
        request: Its body is multipart/form-data.
        most: Bytes of all files.
        text_bytes: Of each of the other fields.
        files: How many there may be.

    Raises:
        ServiceError: 400 if it is not a form or has too many parts, 413 above so many bytes.
    """
    extra = _FORM_EXTRA + text_bytes + files * _PART_HEADERS
    parser = MultiPartParser(
        request.headers,
        counted(request, most + extra),
        max_files=files,
        max_fields=16,
        max_part_size=text_bytes,
    )
    if files > 1:
        parser.spool_max_size = _SPOOLED_OF_MANY
    try:
        form = await parser.parse()
    except ClientDisconnect:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        raise ServiceError(
            400, f"The form cannot be read: {getattr(error, 'message', error)}."
        ) from error
    try:
        yield form
    finally:
        await form.close()


async def file_bytes(file: UploadFile, most: int) -> bytes:
    """Bytes of a form's file.

    Raises:
        ServiceError: 413 above so many.
    """
    data = await file.read(most + 1)
    if len(data) > most:
        raise too_large(most)
    return data


async def _read(request: Request, limits: Limits) -> bytes:
    kind = media_type_of(request)
    if kind == FORM:
        async with form_of(request, limits.photo_bytes) as form:
            photo = form.get(FIELD)
            if not isinstance(photo, UploadFile):
                raise ServiceError(400, f"The form has no file in the field '{FIELD}'.")
            return await file_bytes(photo, limits.photo_bytes)
    if kind != RAW and not kind.startswith("image/"):
        raise ServiceError(
            415,
            f"The body is {kind or 'of no type'}; send the photo itself as image/jpeg or the like,"
            f" or {FORM} with the field '{FIELD}'.",
        )
    return await body_of(request, limits.photo_bytes)


def too_large(most: int) -> ServiceError:
    """More bytes than are allowed came, or were announced."""
    return ServiceError(
        413,
        f"The body is larger than {most:,} bytes; send a smaller one.",
        {"connection": "close"},
    )
