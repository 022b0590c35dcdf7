"""Decoding of any file to upright RGB pixels, or to an error with the reason.

Whatever the bytes, the outcome is an array or an `UnreadableError`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from cannabis_ml.photos.integrity import ENDS, SIGNATURES, check_jpeg, checked_png
from cannabis_ml.photos.pillow import FORMATS, open_image, without_warnings
from cannabis_ml.photos.unreadable import UnreadableError

MAX_PIXELS = 200_000_000
"""Width x height above which a photo is refused: the largest phone sensors have 200 megapixels."""

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng", ".gif", ".webp", ".avif", ".avifs", ".heic", ".heif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    }
)
"""Suffixes, in lower case, of files that are called like photos. HEIC is among them, so that such
files are reported as photos that cannot be read."""

Found = TypeVar("Found")

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")

_ORIENTATION_TAG = 0x0112
_MAKE_TAG = 0x010F
# EXIF orientation -> the steps that bring the photo upright (CIPA DC-008, 4.6.4 A).
_UPRIGHT_STEPS: dict[int, tuple[Any, ...]] = {
    2: (lambda p: cv2.flip(p, 1),),
    3: (lambda p: cv2.rotate(p, cv2.ROTATE_180),),
    4: (lambda p: cv2.flip(p, 0),),
    5: (cv2.transpose,),
    6: (lambda p: cv2.rotate(p, cv2.ROTATE_90_CLOCKWISE),),
    7: (cv2.transpose, lambda p: cv2.rotate(p, cv2.ROTATE_180)),
    8: (lambda p: cv2.rotate(p, cv2.ROTATE_90_COUNTERCLOCKWISE),),
}
_LYING = (5, 6, 7, 8)


@dataclass(frozen=True)
class Header:
    """Metadata of a photo, known before any pixel is decoded.

    Attributes:
        format: Pillow's name, as `JPEG`.
        width: Pixels of the upright photo.
        height: Pixels of the upright photo.
        mode: Pillow's mode in the file, as `RGB`, `CMYK`, `I;16`.
        orientation: EXIF orientation, 1 (upright already) to 8.
        has_metadata: Whether EXIF or a colour profile travels with it.
        is_deep: Whether a channel has more than 8 bits.
        has_alpha: Whether some of it may be transparent.
        is_animated: Whether the file holds further frames or pages.
        camera: EXIF make, such as `Canon`; None where it is missing.
        colour_profile: The ICC profile as it stands in the file, or None.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int
    has_metadata: bool
    is_deep: bool = False
    has_alpha: bool = False
    is_animated: bool = False
    camera: str | None = None
    color_profile: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Photo(Header):
    """A decoded photo and its metadata.

    Attributes:
        pixels: uint8 RGB (h, w, 3), upright; smaller than `height` x `width` where the decoder
            was allowed to reduce.
    """

    pixels: np.ndarray


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
    reduce_to: int | None = None,
) -> np.ndarray:
    """Decode a photo to upright RGB.

    EXIF orientation is applied. 16 bits are scaled to 8, transparency is laid on white, palette,
    CMYK and greyscale become RGB, an animation gives its first frame. Colour profiles are not
    applied.

    Args:
        data: The whole file.
        max_pixels: Refuse more than this, before any pixel is decoded.
        min_side: Refuse a photo whose short side is below this.
        reduce_to: The smallest short side that the caller still needs. A JPEG is then decoded at
            1/2, 1/4 or 1/8 of its size where that leaves at least as much: several times faster.

    Returns:
        uint8 (H, W, 3), contiguous.

    Raises:
        UnreadableError: For everything that gives no photo, whatever the bytes.
    """
    limits = {"max_pixels": max_pixels, "min_side": min_side, "reduce_to": reduce_to}
    return examine(data, **limits).pixels  # type: ignore[arg-type]


def decode_image(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Turn a Pillow image into upright RGB, as `decode` does with the file that it came from.

    Args:
        image: Opened or drawn; EXIF orientation is applied where it has one.
        max_pixels: Refuse more than this.

    Returns:
        uint8 (H, W, 3), contiguous.

    Raises:
        UnreadableError: If it is too large, or its file is damaged.
    """
    try:
        _limit_pixels(image, max_pixels)
        orientation, _ = _exif(image)
        return _upright(_rgb(image), orientation)
    except UnreadableError:
        raise
    except Exception as error:  # as in `_opened`
        raise _damaged(error) from error


def examine(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
    reduce_to: int | None = None,
) -> Photo:
    """Decode a photo as `decode` does, and keep its metadata.

    Raises:
        UnreadableError: As `decode`.
    """

    def read(image: Image.Image) -> Photo:
        _limit_pixels(image, max_pixels)
        header = _header(image)
        width, height = header.width, header.height
        if min_side is not None and min(width, height) < min_side:
            raise UnreadableError(
                "too_small", f"{width} x {height} pixels, the short side is below {min_side}."
            )
        if reduce_to is not None:
            image.draft(None, (reduce_to, reduce_to))
        return Photo(**vars(header), pixels=_upright(_rgb(image), header.orientation))

    return _opened(data, read)


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the metadata of a photo. Pixels are decoded only where EXIF may stand behind them (PNG).

    Args:
        data: The file.
        max_pixels: Refuse more than this, before a pixel is decoded.

    Raises:
        UnreadableError: If not even that can be read; the pixels may still be damaged.
    """

    def read(image: Image.Image) -> Header:
        _limit_pixels(image, max_pixels)
        return _header(image)

    return _opened(data, read)


def has_photo_header(path: Path) -> bool:
    """Whether a file begins like a photo that can be read here; its name does not matter.

    Only its first bytes are read. The pixels may still be damaged.
    """
    try:
        if not path.is_file():  # a pipe might never end
            return False
        with path.open("rb") as file, without_warnings(), open_image(file):
            return True
    except Exception:  # nearly anything, as in `_opened`
        return False


def _opened(data: bytes, read: Callable[[Image.Image], Found]) -> Found:
    """Open a file, apply `read`, and turn whatever goes wrong into an `UnreadableError`."""
    if not data:
        raise UnreadableError("empty", "The file has no bytes.")
    if data.startswith(_LFS_POINTER):
        raise UnreadableError(
            "lfs_pointer", "A Git LFS pointer instead of the photo: run `git lfs pull`."
        )
    if data.startswith(SIGNATURES["PNG"]):
        data = checked_png(data)
    if data.startswith(SIGNATURES["JPEG"]):
        check_jpeg(data)
    try:
        with without_warnings(), open_image(io.BytesIO(data)) as image:
            return read(image)
    except UnreadableError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise UnreadableError("too_large", f"More pixels than fit: {_line(error)}.") from error
    except Image.UnidentifiedImageError:
        raise _unidentified(data) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise _damaged(error) from error


def _limit_pixels(image: Image.Image, max_pixels: int) -> None:
    """Refuse too many pixels, before the header is read: Pillow may decode to find EXIF."""
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableError(
            "too_large", f"{width} x {height} pixels, more than the {max_pixels:,} allowed."
        )


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    for step in _UPRIGHT_STEPS.get(orientation, ()):
        pixels = step(pixels)
    return np.ascontiguousarray(pixels)


def _header(image: Image.Image) -> Header:
    width, height = image.size
    # All of these may change once pixels are loaded or frames are counted.
    mode, is_deep, has_alpha = image.mode, _is_deep(image), image.has_transparency_data
    profile = image.info.get("icc_profile")
    has_metadata = any(key in image.info for key in ("exif", "icc_profile"))
    orientation, camera = _exif(image)
    if orientation in _LYING:
        width, height = height, width
    return Header(
        format=image.format or "unknown",
        width=width,
        height=height,
        mode=mode,
        orientation=orientation,
        has_metadata=has_metadata,
        is_deep=is_deep,
        has_alpha=has_alpha,
        is_animated=_is_animated(image),
        camera=camera,
        color_profile=profile if isinstance(profile, bytes) else None,
    )


def _is_deep(image: Image.Image) -> bool:
    # Pillow cuts 48-bit colour to 24 and calls it RGB: only the decoder's raw mode shows it.
    raw = (str(tile.args) for tile in getattr(image, "tile", ()))
    return image.mode.startswith(("I", "F")) or any(";16" in args for args in raw)


def _is_animated(image: Image.Image) -> bool:
    if image.format in ("JPEG", "MPO"):  # an MPO adds previews and views of the same moment
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged: nobody reads it
        return False


def _exif(image: Image.Image) -> tuple[int, str | None]:
    """Orientation and make of the camera."""
    try:
        exif = image.getexif()
        orientation, make = exif.get(_ORIENTATION_TAG, 1), exif.get(_MAKE_TAG)
    except Exception:  # pixels may be sound beside a broken EXIF block
        return 1, None
    camera = "".join(c for c in str(make or "") if c.isprintable()).strip()[:60]
    return orientation if orientation in _UPRIGHT_STEPS else 1, camera or None


def _rgb(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode.startswith(("I", "F")):
        gray = _to_8_bits(np.asarray(image), image.mode)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    elif image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        image = converted or image
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)


def _to_8_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Bring 16-bit, 32-bit and floating greyscale to 0..255.

    `I;16` is 0..65535. Plain `I` holds 16 bits in nearly every file. `F` has no agreed white:
    1, 255, or else the brightest value found.
    """
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    whites = (65535.0,) if mode.startswith("I") else (1.0, 255.0)
    white = next((w for w in whites if top <= w), top)
    return np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8)


def _unidentified(data: bytes) -> UnreadableError:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return UnreadableError(
            "unreadable", "HEIC photos cannot be read here: convert them to JPEG."
        )
    for kind, signatures in SIGNATURES.items():
        if data.startswith(signatures):
            if kind in ENDS and ENDS[kind] not in data[-4096:]:
                return UnreadableError("truncated", f"The {kind} ends within its header.")
            return UnreadableError("unreadable", f"Starts like a {kind}; its header is damaged.")
    return UnreadableError("not_an_image", "No image format that is known here.")


def _damaged(error: Exception) -> UnreadableError:
    reason = _line(error)
    cut = isinstance(error, EOFError) or any(
        word in reason.lower() for word in ("truncated", "unexpected end", "not enough image data")
    )
    if cut:
        return UnreadableError("truncated", f"The file ends before the photo does ({reason}).")
    return UnreadableError("unreadable", f"The file is damaged ({reason}).")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]


__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "Photo",
    "UnreadableError",
    "decode",
    "examine",
    "has_photo_header",
    "read_header",
]
