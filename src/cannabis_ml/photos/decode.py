"""From the bytes of any file to upright RGB pixels, or to a verdict on why not.

Whatever the bytes, the outcome is an array or an `UnreadableError`.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
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

MAX_PIXELS = 200_000_000
"""Width x height above which a photo is refused: the largest phone sensors have 200 megapixels."""

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

# The limit is ours, per call; Pillow's own would refuse at 179 megapixels and warn at 89.
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, MAX_PIXELS)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Broken EXIF, odd palettes and the like: none changes whether the pixels can be had.
warnings.filterwarnings("ignore", module=r"PIL\.")

Found = TypeVar("Found")

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*"),
}
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
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


class UnreadableError(ValueError):
    """A file that gives no photo.

    Attributes:
        defect: Short name: `empty`, `lfs_pointer`, `not_an_image`, `truncated`, `too_large`,
            `too_small` or `unreadable`.
        detail: One sentence for a person.
    """

    def __init__(self, defect: str, detail: str) -> None:
        super().__init__(f"{defect}: {detail}")
        self.defect = defect
        self.detail = detail

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[str, str]]:
        return UnreadableError, (self.defect, self.detail)


@dataclass(frozen=True)
class Header:
    """What a file says of its photo before any pixel is decoded.

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
        camera: EXIF make, as `Canon`; None where it says none.
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
    colour_profile: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Photo(Header):
    """A decoded photo and what its file said of it.

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
    """Decode a photo as `decode` does, and keep what the file says of it.

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


def read_header(data: bytes) -> Header:
    """Read what a file says of its photo, without decoding a pixel.

    Raises:
        UnreadableError: If not even that can be read; the pixels may still be damaged.
    """
    return _opened(data, _header)


def has_photo_header(path: Path) -> bool:
    """Whether a file begins like a photo that can be read here; its name does not matter.

    Only its first bytes are read. The pixels may still be damaged.
    """
    try:
        if not path.is_file():  # a pipe might never end
            return False
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # nearly anything, as in `_opened`
        return False


def _opened(data: bytes, read: Callable[[Image.Image], Found]) -> Found:
    """Open a file, apply `read`, and turn all that can go wrong into a verdict."""
    if not data:
        raise UnreadableError("empty", "The file has no bytes.")
    if data.startswith(_LFS_POINTER):
        raise UnreadableError(
            "lfs_pointer", "A Git LFS pointer instead of the photo: run `git lfs pull`."
        )
    if data.startswith(_SIGNATURES["PNG"]):
        data = _checked_png(data)
    if data.startswith(_SIGNATURES["JPEG"]):
        _check_jpeg(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return read(image)
    except UnreadableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
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
        colour_profile=profile if isinstance(profile, bytes) else None,
    )


def _is_deep(image: Image.Image) -> bool:
    # Pillow cuts 48-bit colour to 24 and calls it RGB: only the decoder's raw mode tells.
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
        found, make = exif.get(_ORIENTATION_TAG, 1), exif.get(_MAKE_TAG)
    except Exception:  # a broken EXIF block says nothing on the pixels
        return 1, None
    camera = "".join(c for c in str(make or "") if c.isprintable()).strip()[:60]
    return found if found in _UPRIGHT_STEPS else 1, camera or None


def _rgb(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bits(np.asarray(image), image.mode)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
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


def _check_jpeg(data: bytes) -> None:
    """Look for the end of the photo, which the decoder forgives to be missing.

    A download that broke off into space reserved for it decodes without complaint, grey from
    there on. Within the pixels' data the two bytes of the end cannot occur (ITU-T T.81, B.1.1.5);
    what cameras append after them does not matter, nor does the end of a preview before them.

    Raises:
        UnreadableError: If it is not there.
    """
    if data.endswith(_ENDS["JPEG"]):
        return
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xDA:  # start of scan: pixels follow
            break
        is_alone = kind in (0x01, 0xFF) or 0xD0 <= kind <= 0xD8
        at += (
            1
            if kind == 0xFF
            else 2
            if is_alone
            else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        )
    if data.rfind(_ENDS["JPEG"], at) < 0:
        raise UnreadableError("truncated", "The JPEG has no end: the file was cut or never filled.")


def _checked_png(data: bytes) -> bytes:
    """Check the sums that a PNG carries, which Pillow does not: it would give noise instead.

    Returns:
        The file, without such texts and colour profiles as Pillow refuses for their length: they
        say nothing of the pixels.

    Raises:
        UnreadableError: If a chunk that pixels depend on is damaged, or the file ends early.
    """
    view = memoryview(data)
    at = copied = len(_SIGNATURES["PNG"][0])
    parts: list[bytes | memoryview] = [view[:at]]
    room = PngImagePlugin.MAX_TEXT_MEMORY
    while at + 8 <= len(data):
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        is_critical = kind[:1].isupper()  # PNG specification (W3C 2003), 5.4
        sums = zlib.crc32(view[at + 4 : end]), int.from_bytes(view[end : end + 4], "big")
        if is_critical and sums[0] != sums[1]:
            raise UnreadableError(
                "unreadable", f"The file is damaged (chunk {kind!r} of the PNG has a wrong sum)."
            )
        if kind in _PNG_TEXTS and sums[0] == sums[1]:
            body = bytes(view[at + 8 : end])
            fitting, size = _fitting_text(kind, body, room)
            room -= size
            if fitting != body:
                parts += [view[copied:at], _png_chunk(kind, fitting) if fitting else b""]
                copied = end + 4
        if kind == b"IEND":
            return b"".join([*parts, view[copied:]]) if len(parts) > 1 else data
        at = end + 4
    raise UnreadableError("truncated", "The PNG ends before the photo does.")


def _fitting_text(kind: bytes, body: bytes, room: int) -> tuple[bytes, int]:
    """Cut the text of a PNG's chunk to what Pillow takes, and drop a profile that is too long.

    Pillow refuses the whole file where a compressed text or profile unpacks to more than 1 MiB, or
    all texts together to more than 64: editing programs and image generators write such. The
    beginning is kept, for XMP may say there which way is up.

    Args:
        kind: One of `_PNG_TEXTS`.
        body: What the chunk holds.
        room: Bytes that are left for texts.

    Returns:
        What it may hold, empty if nothing, and the bytes of text in it.
    """
    at, is_packed = _PNG_TEXTS[kind](body)
    text, is_whole = body[at:], True
    if is_packed:
        unpacking = zlib.decompressobj()
        try:
            text = unpacking.decompress(text, PngImagePlugin.MAX_TEXT_CHUNK)
        except zlib.error:  # Pillow passes over it
            return body, 0
        is_whole = not unpacking.unconsumed_tail
    if kind == b"iCCP":
        return (body if is_whole else b""), 0
    if is_whole and len(text) <= room:
        return body, len(text)
    # Not within a character of UTF-8.
    text = text[: min(PngImagePlugin.MAX_TEXT_CHUNK, room) // 2].rstrip(bytes(range(128, 256)))
    fitting = body[:at] + (zlib.compress(text) if is_packed else text)
    return (fitting if text else b""), len(text)


def _after_keyword(body: bytes) -> int:
    return body.find(b"\0") + 1 or len(body)


def _text_of_itxt(body: bytes) -> tuple[int, bool]:
    """Keyword, 0, whether it is packed, method, language, 0, keyword translated, 0, text."""
    at = _after_keyword(body)
    is_packed = body[at : at + 1] == b"\1"
    at += 2
    for _ in ("language", "translated"):
        at += _after_keyword(body[at:])
    return at, is_packed


# Kind of chunk -> where its text begins, and whether it is packed (PNG specification, 11.3.4).
_PNG_TEXTS: dict[bytes, Callable[[bytes], tuple[int, bool]]] = {
    b"tEXt": lambda body: (_after_keyword(body), False),
    b"zTXt": lambda body: (_after_keyword(body) + 1, True),
    b"iCCP": lambda body: (_after_keyword(body) + 1, True),
    b"iTXt": _text_of_itxt,
}


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    total = zlib.crc32(kind + body)
    return len(body).to_bytes(4, "big") + kind + body + total.to_bytes(4, "big")


def _unidentified(data: bytes) -> UnreadableError:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return UnreadableError(
            "unreadable", "HEIC photos cannot be read here: convert them to JPEG."
        )
    for kind, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            if kind in _ENDS and _ENDS[kind] not in data[-4096:]:
                return UnreadableError("truncated", f"The {kind} ends within its header.")
            return UnreadableError("unreadable", f"Starts like a {kind}; its header is damaged.")
    return UnreadableError("not_an_image", "No image format that is known here.")


def _damaged(error: Exception) -> UnreadableError:
    said = _line(error)
    cut = isinstance(error, EOFError) or any(
        word in said.lower() for word in ("truncated", "unexpected end", "not enough image data")
    )
    if cut:
        return UnreadableError("truncated", f"The file ends before the photo does ({said}).")
    return UnreadableError("unreadable", f"The file is damaged ({said}).")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
