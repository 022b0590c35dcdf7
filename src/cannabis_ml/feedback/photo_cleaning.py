"""A stranger's photo as pixels and nothing else: verified, limited, encoded anew.

EXIF (place, serial numbers, the owner's name), XMP, comments, colour profiles, previews, videos and
whatever was appended are gone, as only pixels pass. What the pipelines read is the same: they apply
the orientation and no colour profile, as is done here. A JPEG or PNG that has nothing but pixels
stays as it is, byte by byte, so that a photo of one store has the same id in another.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.photos.decode import Header, UnreadableError, examine, read_header
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.pillow import open_image, without_warnings

MAX_BYTES = 25_000_000
MAX_PIXELS = 64_000_000

_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"})
"""Formats that become JPEG; the others become PNG."""

_QUALITY = 95
"""Of JPEGs whose source is not one. One that is keeps its own quantization tables."""

_FOREIGN = {
    b"%pdf-": "a PDF",
    b"<?php": "a PHP script",
    b"<script": "a script",
    b"<html": "HTML",
    b"<!doctype": "HTML",
    b"<svg": "SVG",
}
"""What a polyglot is besides a photo, by what that begins with. Long enough not to occur in
compressed pixels by chance: in 5 MB once in 200,000 photos, and seldomer."""


@dataclass(frozen=True)
class CleanPhoto:
    """A photo as it is stored.

    Attributes:
        photo_id: SHA-256 of `data`.
        data: JPEG or PNG without metadata, upright, RGB of 8 bits.
        suffix: `.jpg` or `.png`.
        width: Pixels.
        height: Pixels.
        sent_sha256: SHA-256 of the bytes that were sent.
    """

    photo_id: str
    data: bytes
    suffix: str
    width: int
    height: int
    sent_sha256: str


def clean_photo(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> CleanPhoto:
    """Decode a photo and encode its pixels anew.

    Args:
        data: The file as sent.
        max_bytes: Refuse more than this, before and after.
        max_pixels: Refuse more than this, before any pixel is decoded.

    Raises:
        FeedbackRefusedError: If it does not decode, is too large, or is something else as well.
    """
    if len(data) > max_bytes:
        raise FeedbackRefusedError(f"photo: {len(data):,} bytes, more than {max_bytes:,}")
    try:
        header = read_header(data)
        pixels = examine(data, max_pixels=max_pixels).pixels
    except UnreadableError as error:
        raise FeedbackRefusedError(f"photo: {error.detail}") from None
    foreign = _foreign(data)
    if foreign:
        raise FeedbackRefusedError(f"photo: the file is {foreign} as well")
    suffix = ".jpg" if header.format in _LOSSY else ".png"
    if _has_pixels_alone(data, header):
        clean = data
    else:
        clean = _as_jpeg(pixels, data) if suffix == ".jpg" else _as_png(pixels)
    if len(clean) > max_bytes:
        raise FeedbackRefusedError(
            f"photo: {len(clean):,} bytes without compression of its own, more than {max_bytes:,}"
        )
    height, width = pixels.shape[:2]
    return CleanPhoto(photo_id(clean), clean, suffix, width, height, photo_id(data))


def _foreign(data: bytes) -> str | None:
    if zipfile.is_zipfile(io.BytesIO(data)):
        return "an archive"
    lowered = data.lower()
    return next((name for mark, name in _FOREIGN.items() if mark in lowered), None)


def _has_pixels_alone(data: bytes, header: Header) -> bool:
    if header.is_deep or header.has_alpha or header.mode not in ("RGB", "L"):
        return False
    if header.format == "JPEG":
        return _jpeg_has_pixels_alone(data)
    return header.format == "PNG" and _png_has_pixels_alone(data)


def _jpeg_has_pixels_alone(data: bytes) -> bool:
    """Walk over all segments (ITU-T T.81, B.1.1): tables, frames, scans and a plain JFIF header."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return False
        kind = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind not in _JPEG_SEGMENTS or _JPEG_SEGMENTS[kind] not in (None, length):
            return False
        at += 2 + length
        if kind == 0xDA:  # what is compressed follows: up to a marker that is no restart
            end = _JPEG_MARKER.search(data, at)
            if end is None:
                return False
            at = end.start()
            if data[at + 1] == 0xD9:
                return at + 2 == len(data)
    return False


_JPEG_SEGMENTS = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD)),
    0xE0: 16,  # JFIF without a preview
    0xEE: 14,  # Adobe's: how colours are coded
}
"""Kinds of segment that say how pixels are coded; the length of those that could say more."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def _png_has_pixels_alone(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        if kind not in (b"IHDR", b"IDAT", b"IEND"):
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at == len(data)
    return False


def _as_png(pixels: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise FeedbackRefusedError("photo: its pixels cannot be encoded")
    return encoded.tobytes()


def _as_jpeg(pixels: np.ndarray, source: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **_jpeg_options(source))
    return buffer.getvalue()


def _jpeg_options(source: bytes) -> dict[str, Any]:
    """Tables and subsampling of the source, so that encoding again changes next to nothing."""
    options: dict[str, Any] = {"quality": _QUALITY, "subsampling": 0}
    with without_warnings(), open_image(io.BytesIO(source)) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.layers not in (1, 3):
            return options
        tables = image.quantization
        if not tables or any(value > 255 for table in tables.values() for value in table):
            return options
        sampling = JpegImagePlugin.get_sampling(image)
    kept = {"qtables": [list(tables[i]) for i in sorted(tables)][:2]}
    return kept | {"subsampling": sampling if sampling in (0, 1, 2) else 0}
