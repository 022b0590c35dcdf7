"""Photos out of requests: as the body itself, or as a field of a form; counted while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.settings import Limits

FIELD = "photo"
"""Name of the form's field that holds a photo."""

RAW = "application/octet-stream"

_FORM_EXTRA = 64 << 10
"""Bytes of a form besides its photo."""


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
    try:
        async with asyncio.timeout(limits.upload_seconds):
            data = await _read(request, limits)
    except TimeoutError as error:
        raise ServiceError(
            408,
            f"The photo did not arrive within {limits.upload_seconds:g} s; send a smaller one.",
            {"connection": "close"},
        ) from error
    if not data:
        raise ServiceError(422, "The photo is empty.")
    return data


async def _read(request: Request, limits: Limits) -> bytes:
    kind = request.headers.get("content-type", RAW).partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, limits.photo_bytes)
    if kind != RAW and not kind.startswith("image/"):
        raise ServiceError(
            415,
            f"The body is {kind or 'of no type'}; send the photo itself as image/jpeg or the like,"
            f" or multipart/form-data with the field '{FIELD}'.",
        )
    data = bytearray()
    async for piece in _counted(request, limits.photo_bytes):
        data += piece
    return bytes(data)


async def _counted(request: Request, most: int) -> AsyncGenerator[bytes]:
    """The body, as long as it is no larger than allowed: by its header, and as it comes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    came = 0
    async for piece in request.stream():
        came += len(piece)
        if came > most:
            raise _too_large(most)
        yield piece


async def _from_form(request: Request, most: int) -> bytes:
    counted = _counted(request, most + _FORM_EXTRA)
    parser = MultiPartParser(
        request.headers, counted, max_files=1, max_fields=16, max_part_size=_FORM_EXTRA
    )
    try:
        form = await parser.parse()
    except ClientDisconnect:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        raise ServiceError(
            400, f"The form cannot be read: {getattr(error, 'message', error)}."
        ) from error
    try:
        photo = form.get(FIELD)
        if not isinstance(photo, UploadFile):
            raise ServiceError(400, f"The form has no file in the field '{FIELD}'.")
        data = await photo.read(most + 1)
    finally:
        await form.close()
    if len(data) > most:
        raise _too_large(most)
    return data


def _too_large(most: int) -> ServiceError:
    return ServiceError(
        413,
        f"The photo is larger than {most:,} bytes; send a smaller one.",
        {"connection": "close"},
    )
