"""Types of the fields that strangers fill in: lengths, characters and numbers that are taken."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from cannabis_ml.text import normal

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._:@+=-]*"
"""Pattern of keys and pseudonyms, whole."""

_ID = re.compile(IDENTIFIER)
_PHOTO_ID = re.compile(r"[0-9a-f]{64}")

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that show a text in another order than it has (Unicode UAX #9)."""

_MARKUP = frozenset("<>")
_NOT_IN_NAMES = frozenset('<>"`;\\\n\t')

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


def _identifier(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            "must begin with a letter or digit and hold only letters, digits and ._:@+=-"
        )
    return value


def _photo_id(value: str) -> str:
    if not _PHOTO_ID.fullmatch(value):
        raise ValueError("is not a photo's id: 64 digits in lower-case hex")
    return value


def _name(value: str) -> str:
    value = normal(value)
    if not value:
        raise ValueError("is empty")
    return _without(value, _NOT_IN_NAMES)


def _text(value: str) -> str:
    return _without(value, _MARKUP, allowed="\n\t")


def _without(value: str, refused: frozenset[str], allowed: str = "") -> str:
    for char in value:
        if char in refused:
            raise ValueError(f"must not hold {char!r}")
        if char in allowed:
            continue
        if char in _REORDERING or unicodedata.category(char) in ("Cc", "Cs"):
            raise ValueError(f"must not hold the control character U+{ord(char):04X}")
    return value


def _utc(value: datetime) -> datetime:
    value = value.astimezone(UTC)
    if value < EARLIEST:
        raise ValueError(f"is before {EARLIEST:%Y}")
    return value


Identifier = Annotated[
    str,
    Field(
        min_length=1, max_length=128, json_schema_extra={"pattern": f"^{_ID.pattern}$"}
    ),  # the pattern is shown, the reason is better in words
    AfterValidator(_identifier),
]
"""An id that a machine made: a key, a pseudonym, a bundle's id."""

PhotoId = Annotated[
    str,
    Field(max_length=64, json_schema_extra={"pattern": f"^{_PHOTO_ID.pattern}$"}),
    AfterValidator(_photo_id),
]
"""SHA-256 of a stored photo's bytes, in hex."""

ClassName = Annotated[str, Field(max_length=200), AfterValidator(_name)]
"""The name of a head or class, in its normal form."""

FreeText = Annotated[str, Field(max_length=1000), AfterValidator(_text)]
"""What a person typed: any script, no markup, no control characters but line ends and tabs."""

ShortText = Annotated[str, Field(max_length=100), AfterValidator(_text)]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
"""A number in [0, 1]; neither NaN nor text."""

Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time with its zone, as UTC."""
