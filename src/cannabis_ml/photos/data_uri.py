"""Photos small enough to stand inside an HTML page."""

from __future__ import annotations

import base64
import io

from cannabis_ml._io.photo_files import read_file
from cannabis_ml.errors import SourceError
from cannabis_ml.photos.decode import UnreadableError, decode

GONE = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='96' height='96'%3E%3Crect"
    " width='100%25' height='100%25' fill='%23e9e4dc'/%3E%3C/svg%3E"
)
"""Stands for a photo that cannot be opened."""


def thumbnail_uri(path: str, size: int = 160) -> str:
    """A small JPEG of a file as a data URI; `GONE` where it cannot be opened."""
    try:
        return jpeg_uri(read_file(path), size)
    except (UnreadableError, SourceError, OSError, ValueError):
        return GONE


def jpeg_uri(data: bytes, size: int) -> str:
    """A JPEG as a data URI.

    Args:
        data: Bytes of a photo.
        size: Longer side in pixels, at most.

    Raises:
        UnreadableError: If it cannot be decoded.
    """
    return f"data:image/jpeg;base64,{base64.b64encode(small_jpeg(data, size)).decode()}"


def small_jpeg(data: bytes, size: int, quality: int = 78) -> bytes:
    """A photo as a JPEG of its pixels alone, upright.

    Args:
        data: Bytes of a photo.
        size: Longer side in pixels, at most.
        quality: Of the JPEG, 1 to 95.

    Raises:
        UnreadableError: If it cannot be decoded.
    """
    import cv2
    from PIL import Image

    pixels = decode(data, reduce_to=2 * size)
    scale = size / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
