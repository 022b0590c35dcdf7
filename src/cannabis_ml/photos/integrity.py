"""Damage that Pillow does not see: missing ends of JPEGs, wrong sums and long texts in PNGs."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from PIL import PngImagePlugin

from cannabis_ml.photos.unreadable import UnreadableError

SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*"),
}
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def check_jpeg(data: bytes) -> None:
    """Look for the end of the photo, which the decoder forgives to be missing.

    A download that broke off into space reserved for it decodes without complaint, grey from
    there on. Within the pixels' data the two bytes of the end cannot occur (ITU-T T.81, B.1.1.5);
    what cameras append after them does not matter, nor does the end of a preview before them.

    Raises:
        UnreadableError: If it is not there.
    """
    if data.endswith(ENDS["JPEG"]):
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
    if data.rfind(ENDS["JPEG"], at) < 0:
        raise UnreadableError("truncated", "The JPEG has no end: the file was cut or never filled.")


def checked_png(data: bytes) -> bytes:
    """Check the sums that a PNG carries, which Pillow does not: it would give noise instead.

    Returns:
        The file, without such texts and colour profiles as Pillow refuses for their length: the
        pixels do not depend on them.

    Raises:
        UnreadableError: If a chunk that pixels depend on is damaged, or the file ends early.
    """
    view = memoryview(data)
    at = copied = len(SIGNATURES["PNG"][0])
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
    beginning is kept, for XMP may hold the orientation there.

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
