"""A hash of a file that travels inside the file.

Whoever gets a lone model file, without the bundle that lists its hash, can still tell whether it
is as it was written. A seal shows damage; it proves nothing about who wrote the file.

The card of a model file is a JSON text somewhere in it. Its last entry is the seal: the SHA-256 of
the whole file with 64 zeros in the seal's own place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from cannabis_ml.errors import ExportError

SEAL = "content_sha256"
"""Last key of a sealed card."""

_BLANK = b"0" * 64
_FRAME = f'"{SEAL}": "'.encode()
_END = b'"}'


def sealable(card: Mapping[str, Any]) -> bytes:
    """The JSON text of a card with an empty seal at its end.

    Raises:
        ExportError: If the card is no JSON.
    """
    bare = {key: value for key, value in card.items() if key != SEAL}
    try:
        text = json.dumps({**bare, SEAL: _BLANK.decode()}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExportError(f"The card of a model must be plain JSON: {error}.") from error
    return text.encode()


def closed(data: bytes, end: int) -> bytes:
    """Fill in the seal.

    Args:
        data: The whole file, with a `sealable` text in it.
        end: Where that text ends.
    """
    at = end - len(_END) - len(_BLANK)
    seal = hashlib.sha256(data).hexdigest().encode()
    return b"".join([data[:at], seal, data[at + len(_BLANK) :]])


def state(data: bytes, end: int) -> Literal["whole", "altered", "none"]:
    """Whether a file is as it was sealed.

    Args:
        data: The whole file.
        end: Where the JSON text of its card ends.

    Returns:
        `none` where there is no seal: the file was not written by `sealable` and `closed`.
    """
    at = end - len(_END) - len(_BLANK)
    start = at - len(_FRAME)
    if start < 0:
        return "none"
    # A frame with damaged letters is still a seal; else damage to it would pass for none.
    same = sum(a == b for a, b in zip(data[start:at], _FRAME, strict=True))
    if 2 * same < len(_FRAME):
        return "none"
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_BLANK)
    digest.update(view[at + len(_BLANK) :])
    found = bytes(view[at : at + len(_BLANK)])
    return "whole" if found == digest.hexdigest().encode() else "altered"


def read_card(text: bytes) -> dict[str, Any]:
    """The card in a JSON text, without its seal.

    Raises:
        ExportError: If it is no JSON object.
    """
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"The model's card is no JSON ({error}): the file is damaged.") from error
    if not isinstance(card, dict):
        raise ExportError("The model's card is no JSON object: the file is damaged.")
    card.pop(SEAL, None)
    return card
