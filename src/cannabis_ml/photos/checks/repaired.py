"""Defects that decoding mends; the photo is kept."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath

from cannabis_ml.photos.checks.check import Check
from cannabis_ml.photos.checks.examined_file import ExaminedFile
from cannabis_ml.photos.checks.params import DefectParams

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
_PALETTE_MODES = ("P", "PA")

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

# ICC.1:2022, 7.2 and 7.3: a header of 128 bytes, then the count of tags and 12 bytes for each.
_ICC_HEADER = 128
_ICC_SIGNATURE = slice(36, 40)
_ICC_TAG = 12


def _exif_rotated(file: ExaminedFile, params: DefectParams) -> str | None:
    if file.photo is None or file.photo.orientation == 1:
        return None
    return f"Stored in EXIF orientation {file.photo.orientation}: turned upright."


def _cmyk(file: ExaminedFile, params: DefectParams) -> str | None:
    return "In CMYK: converted to RGB." if file.mode == "CMYK" else None


def _sixteen_bit(file: ExaminedFile, params: DefectParams) -> str | None:
    is_deep = file.photo is not None and file.photo.is_deep
    return "More than 8 bits a channel: scaled to 8." if is_deep else None


def _grayscale(file: ExaminedFile, params: DefectParams) -> str | None:
    is_gray = file.mode in _GRAY_MODES
    return "In grey levels: the same for red, green and blue." if is_gray else None


def _palette(file: ExaminedFile, params: DefectParams) -> str | None:
    has_palette = file.mode in _PALETTE_MODES
    return "In a palette of at most 256 colours: converted to RGB." if has_palette else None


def _alpha(file: ExaminedFile, params: DefectParams) -> str | None:
    has_alpha = file.photo is not None and file.photo.has_alpha
    return "Partly transparent: laid on white." if has_alpha else None


def _animated(file: ExaminedFile, params: DefectParams) -> str | None:
    is_animated = file.photo is not None and file.photo.is_animated
    return "Several frames: the first is taken." if is_animated else None


def _wrong_suffix(file: ExaminedFile, params: DefectParams) -> str | None:
    if file.photo is None:
        return None
    suffix = PurePath(file.path).suffix.lower()
    if suffix in _SUFFIXES.get(file.photo.format, (suffix,)):
        return None
    return f"Called {suffix or 'by no suffix'}, holds {file.photo.format}: read as what it is."


def _broken_icc(file: ExaminedFile, params: DefectParams) -> str | None:
    profile = file.photo.color_profile if file.photo else None
    fault = None if profile is None else _icc_fault(profile)
    return None if fault is None else f"Its colour profile {fault}: left out."


def _icc_fault(profile: bytes) -> str | None:
    if len(profile) < _ICC_HEADER + 4 or profile[_ICC_SIGNATURE] != b"acsp":
        return "is not a profile"
    if int.from_bytes(profile[:4], "big") > len(profile):
        return "is cut short"
    count = int.from_bytes(profile[_ICC_HEADER : _ICC_HEADER + 4], "big")
    if _ICC_HEADER + 4 + count * _ICC_TAG > len(profile):
        return "lacks its tags"
    for at in range(_ICC_HEADER + 4, _ICC_HEADER + 4 + count * _ICC_TAG, _ICC_TAG):
        start, size = (int.from_bytes(profile[at + i : at + i + 4], "big") for i in (4, 8))
        if start + size > len(profile):
            return "points beyond its end"
    return None


_repaired = partial(Check, kind="repaired")

REPAIRED = (
    # Phones store what the sensor saw and note how it was held. Programs that ignore the note train
    # on lying plants and are asked about standing ones.
    _repaired(
        name="exif_rotated",
        title="Turned upright",
        about="Stored lying, with an EXIF note on which way is up.",
        find=_exif_rotated,
    ),
    # Read as if they were RGB, four inks come out in false colours, often as a negative.
    _repaired(
        name="cmyk",
        title="CMYK",
        about="Print colours, converted to RGB.",
        find=_cmyk,
    ),
    # From scanners and scientific cameras. Cut instead of scaled, all but the darkest 256 of 65,536
    # levels turn white.
    _repaired(
        name="sixteen_bit",
        title="16 bits per channel",
        about="More than 8 bits per channel, scaled to 8.",
        find=_sixteen_bit,
    ),
    # Networks take three channels. Where classes differ by colour, a gray photo of a ripe
    # fruit shows no class.
    _repaired(
        name="grayscale",
        title="Greyscale",
        about="Made RGB; there is no colour to learn from.",
        find=_grayscale,
    ),
    # GIFs and small PNGs store indices into a colour table; read as gray levels they mean nothing.
    _repaired(
        name="palette",
        title="Palette",
        about="At most 256 colours, made RGB.",
        find=_palette,
    ),
    # What lies below transparent parts is arbitrary, often black. Cut-out subjects of one class
    # would share that background.
    _repaired(
        name="alpha",
        title="Transparency",
        about="Transparent in parts, laid on white.",
        find=_alpha,
    ),
    # An animation is not a photo, but its first frame mostly is.
    _repaired(
        name="animated",
        title="Animated",
        about="The first frame was taken.",
        find=_animated,
    ),
    # Sites serve WebP under .jpg. A reader that goes by names fails on it; a shortcut may hide
    # there as well, when one class came from such a site.
    _repaired(
        name="wrong_suffix",
        title="Wrong suffix",
        about="The suffix is that of another format than the bytes.",
        find=_wrong_suffix,
    ),
    # Programs that apply profiles refuse such a photo, or show it in colours that it does not have.
    _repaired(
        name="broken_icc",
        title="Broken colour profile",
        about="The profile was ignored.",
        find=_broken_icc,
    ),
)
