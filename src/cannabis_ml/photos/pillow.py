"""Pillow, without changes to the rest of the program: its limits and warnings are global."""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

_PLUGINS = (
    JpegImagePlugin.JpegImageFile,  # first: nearly every photo; opens MPO too
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    GifImagePlugin.GifImageFile,
    AvifImagePlugin.AvifImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
    PpmImagePlugin.PpmImageFile,
)
FORMATS = tuple(plugin.format for plugin in _PLUGINS)
"""What is read, by Pillow's names. A closed list: some others start programs (EPS) or know no
signature (TGA), so that any bytes pass for them."""


_PREFIX = 16
"""Bytes by which Pillow's plugins know their format."""

# Broken EXIF, odd palettes and the like: none changes whether the pixels can be had.
_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_decoding = 0


def open_image(file: IO[bytes]) -> Image.Image:
    """Open an image of one of `FORMATS` as `Image.open` does, whatever its size.

    `Image.open` refuses and warns by `Image.MAX_IMAGE_PIXELS`, one limit for the whole program.
    Here the caller looks at the size, before any pixel is decoded.

    Raises:
        UnidentifiedImageError: If the file is not of one of these formats, or its header is
            damaged.
    """
    prefix = file.read(_PREFIX)
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        fits = accept is None or accept(prefix)
        if not fits or isinstance(fits, str):  # a string names what is not installed
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # as `Image.open` does: the header is not of this format after all
    raise Image.UnidentifiedImageError(f"none of {', '.join(FORMATS)}")


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore Pillow's warnings while at least one thread is in here.

    `warnings.catch_warnings` puts back the filters that it found, so of two threads the last one
    out would undo what others changed meanwhile. This adds one filter and takes that one away.
    """
    global _decoding  # noqa: PLW0603
    filters = cast("list[object]", warnings.filters)
    with _lock:
        _decoding += 1
        if _decoding == 1:
            filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            filters = cast("list[object]", warnings.filters)
            if _decoding == 0 and _FILTER in filters:
                filters.remove(_FILTER)
