"""A file whose name says one format and whose bytes say another.

Sites serve WebP under .jpg. A reader that goes by names fails on it or passes it over; a shortcut
may hide there as well, when one class came from such a site. Repaired: read by its bytes.
"""

from __future__ import annotations

from pathlib import PurePath

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo", ".jpg", ".jpeg", ".jpe"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say what it is called and what it is."""
    if seen.photo is None:
        return None
    suffix = PurePath(seen.path).suffix.lower()
    if suffix in _SUFFIXES.get(seen.photo.format, (suffix,)):
        return None
    return f"Called {suffix or 'by no suffix'}, holds {seen.photo.format}: read as what it is."
