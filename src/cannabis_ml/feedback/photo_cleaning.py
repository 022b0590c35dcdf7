"""A stranger's photo as pixels and nothing else: verified, limited, stripped or encoded anew.

EXIF (place, serial numbers, the owner's name), XMP, comments, colour profiles, previews, videos and
whatever was appended are gone. A JPEG keeps its compressed pixels bit by bit, and which way is up;
other formats are encoded anew. What the pipelines read of it is the same, as they apply no colour
profile. A photo that is clean already stays as it is, byte by byte, so that a photo of one store
has the same id in another.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback.params import MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS
from cannabis_ml.photos.decode import Header, UnreadableError, decode, examine, read_header
from cannabis_ml.photos.fingerprint import photo_id

_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"})
"""Formats that become JPEG; the others become PNG."""

_QUALITY = 95
"""Of JPEGs that are encoded anew, with chroma at full resolution."""

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
        data: JPEG or PNG without metadata, but for a JPEG's orientation.
        suffix: `.jpg` or `.png`.
        width: Pixels of the upright photo.
        height: Pixels of the upright photo.
        sent_sha256: SHA-256 of the bytes that were sent.
    """

    photo_id: str
    data: bytes
    suffix: str
    width: int
    height: int
    sent_sha256: str


def clean_photo(
    data: bytes, *, max_bytes: int = MAX_PHOTO_BYTES, max_pixels: int = MAX_PHOTO_PIXELS
) -> CleanPhoto:
    """Decode a photo, and keep what codes its pixels.

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
        header = read_header(data, max_pixels=max_pixels)
        pixels = examine(data, max_pixels=max_pixels).pixels
    except UnreadableError as error:
        raise FeedbackRefusedError(f"photo: {error.detail}") from None
    foreign = _foreign(data)
    if foreign:
        raise FeedbackRefusedError(f"photo: the file is {foreign} as well")
    if header.format in _LOSSY:
        suffix, clean = ".jpg", _as_jpeg(pixels, data, header)
    else:
        suffix, clean = ".png", data if _is_clean_png(data, header) else _as_png(pixels)
    if len(clean) > max_bytes:
        raise FeedbackRefusedError(
            f"photo: {len(clean):,} bytes without compression of its own, more than {max_bytes:,}"
        )
    height, width = pixels.shape[:2]
    return CleanPhoto(photo_id(clean), clean, suffix, width, height, photo_id(data))


def strip_photo(data: bytes, *, max_pixels: int = MAX_PHOTO_PIXELS) -> tuple[bytes, str]:
    """Remove all but the pixels, and lose none of them; a JPEG is not decoded for it.

    Args:
        data: The file as sent.
        max_pixels: Refuse more than this.

    Returns:
        JPEG with `.jpg`, or PNG with `.png`.

    Raises:
        UnreadableError: If it is not a photo.
    """
    header = read_header(data, max_pixels=max_pixels)
    if header.format in ("JPEG", "MPO"):
        stripped = _stripped_jpeg(data, header.orientation)
        if stripped is not None:
            return stripped, ".jpg"
    if _is_clean_png(data, header):
        return data, ".png"
    return _as_png(examine(data, max_pixels=max_pixels).pixels), ".png"


def _foreign(data: bytes) -> str | None:
    if zipfile.is_zipfile(io.BytesIO(data)):
        return "an archive"
    lowered = data.lower()
    return next((name for mark, name in _FOREIGN.items() if mark in lowered), None)


def _is_clean_png(data: bytes, header: Header) -> bool:
    if header.is_deep or header.has_alpha or header.mode not in ("RGB", "L"):
        return False
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


def _as_jpeg(pixels: np.ndarray, source: bytes, header: Header) -> bytes:
    if header.format in ("JPEG", "MPO") and header.mode in ("RGB", "L"):
        stripped = _stripped_jpeg(source, header.orientation)
        if stripped is not None and _shows(stripped, pixels):
            return stripped
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _shows(data: bytes, pixels: np.ndarray) -> bool:
    try:
        return bool(np.array_equal(decode(data, max_pixels=pixels.size), pixels))
    except UnreadableError:
        return False


_CODING = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD), (None, b"")),
    0xE0: (16, b"JFIF\0"),  # without a preview
    0xEE: (14, b"Adobe"),  # how colours are coded
}
"""Kinds of segment that code pixels (ITU-T T.81, B.1.1); of those that could hold more, their
length and beginning."""

_TELLING = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Kinds of segment that hold metadata: applications' and comments."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""What ends a scan: within it stand restarts and stuffed zeros only."""


def _stripped_jpeg(data: bytes, orientation: int) -> bytes | None:
    """The segments that code pixels, up to the first end; None if the use of one is not known."""
    parts = [data[:2]]
    if orientation != 1:
        parts.append(_ORIENTATION % orientation)
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # filling
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            marker = _MARKER.search(data, end)
            if marker is None:
                return None
            end = marker.start()
        length, begin = _CODING.get(kind, (0, b""))
        if length != 0 and length in (None, end - at - 2) and data.startswith(begin, at + 4):
            parts.append(data[at:end])
        elif kind not in _TELLING:
            return None
        at = end
        if data.startswith(b"\xff\xd9", at):
            return b"".join([*parts, b"\xff\xd9"])
    return None


_ORIENTATION = (
    b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0%c\0\0" + b"\0" * 4
)
"""An EXIF block with nothing but which way is up (CIPA DC-008, 4.6.2)."""
