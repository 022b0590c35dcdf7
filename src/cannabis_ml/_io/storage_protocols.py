"""Which addresses are of object storage, and how files are called that are being written."""

from __future__ import annotations

import re
from uuid import uuid4

import fsspec

CLASSES = {
    "s3": "cannabis_ml._io.object_storage_clients.S3Storage",
    "s3a": "cannabis_ml._io.object_storage_clients.S3Storage",
    "gs": "cannabis_ml._io.object_storage_clients.GoogleStorage",
    "gcs": "cannabis_ml._io.object_storage_clients.GoogleStorage",
    "az": "cannabis_ml._io.object_storage_clients.AzureStorage",
    "abfs": "cannabis_ml._io.object_storage_clients.AzureStorage",
}
"""Protocol -> file system."""


def part_of(path: str) -> str:
    """Where a file is written before it is moved to its place."""
    return f"{path}.{uuid4().hex[:8]}.part"


def is_part(path: str) -> bool:
    """Whether a path is of `part_of`: of a file that is being written, or never was whole."""
    return re.search(r"\.[0-9a-f]{8}\.part$", path) is not None


def register() -> None:
    """Let fsspec, and so Kedro, open object storage with these classes; imports none of them."""
    for protocol, name in CLASSES.items():
        fsspec.register_implementation(protocol, name, clobber=True)
