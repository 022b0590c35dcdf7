"""The card and the SHA-256 that a model file carries, and whether it is as it was written.

The last 64 bytes of every model file are the SHA-256, in hexadecimal, of all bytes before them. It
shows damage; it proves nothing about who wrote the file. Standard tools read both:

- ONNX: entries `cannabis_ml` (the card, JSON) and `sha256` of `metadata_props`, which ONNX Runtime
  gives as `custom_metadata_map`. They are the last of the file, so nothing else has to be parsed.
- TFLite: a `.zip` appended to the FlatBuffer, as TFLite Metadata keeps associated files, with
  `cannabis_ml.json` and the SHA-256 as the comment of the archive.

`cannabis_ml.exporting.model_metadata` writes them.
"""

from __future__ import annotations

import hashlib
import io
import zipfile

KEY = "cannabis_ml"
"""Key of the card in the metadata of an ONNX file."""

CARD_FILE = f"{KEY}.json"
"""Name of the card in the archive of a TFLite file."""

DIGEST_BYTES = 64

_MOST_CARD = 16 << 20
_ENTRY = b"\x0a" + bytes([len(KEY)]) + KEY.encode() + b"\x12"
"""How an entry begins in the encoding of Protocol Buffers: key, then the tag of the value."""


def is_whole(data: bytes) -> bool:
    """Whether a file ends with the SHA-256 of what is before."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:-DIGEST_BYTES]).hexdigest()
    return len(data) > DIGEST_BYTES and view[-DIGEST_BYTES:] == digest.encode()


def card_text(data: bytes, format: str) -> bytes | None:
    """The JSON text of the card of a file; None where it has none.

    Args:
        data: The file, whole; see `is_whole`.
        format: `onnx` or `tflite`.
    """
    return _tflite_text(data) if format == "tflite" else _onnx_text(data)


def _tflite_text(data: bytes) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(CARD_FILE) as file:
            return file.read(_MOST_CARD)
    except Exception:  # zipfile raises nearly anything on what is not an archive
        return None


def _onnx_text(data: bytes) -> bytes | None:
    # No control character stands in JSON, so the last entry of this name is not within a card.
    start = data.rfind(_ENTRY)
    if start < 0:
        return None
    at, length, shift = start + len(_ENTRY), 0, 0
    while at < len(data) and shift < 32:  # a varint: seven bits a byte, the lowest first
        length |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            break
    return data[at : at + length]
