"""The id of a photo."""

from __future__ import annotations

import hashlib


def photo_id(data: bytes) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits: the same file has the same id everywhere."""
    return hashlib.sha256(data).hexdigest()
