"""Photos that leave the machine: decoded, scaled down, and written anew without metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from cannabis_ml._io.file_names import on_disk
from cannabis_ml.assistant.params import PhotoParams
from cannabis_ml.errors import SourceError
from cannabis_ml.photos.data_uri import small_jpeg
from cannabis_ml.photos.fingerprint import photo_id as sha256_of
from cannabis_ml.photos.found_files import files_below, may_be_photo


@dataclass(frozen=True)
class PhotoSource:
    """A photo that may be asked about.

    Attributes:
        photo_id: SHA-256 of the file.
        path: Where a person finds it; it is not sent.
        read: Gives the file's bytes.
    """

    photo_id: str
    path: str
    read: Callable[[], bytes]


def outgoing(source: PhotoSource, params: PhotoParams) -> bytes:
    """A photo as it leaves: an upright JPEG of its pixels alone.

    Raises:
        UnreadableError: If it cannot be decoded.
        OSError: If it cannot be read.
    """
    return small_jpeg(source.read(), params.longest_side, params.quality)


@cache
def largest_photo(longest_side: int) -> bytes:
    """The photo with most tokens of all that may leave: a square."""
    import cv2

    gray = np.full((longest_side, longest_side, 3), 128, np.uint8)
    return bytes(cv2.imencode(".jpg", gray)[1].tobytes())


def photos_in(folder: Path) -> list[PhotoSource]:
    """Photos of a folder and those below, each content once, by path.

    Raises:
        SourceError: If there is none.
    """
    sources = list(_found(folder))
    if not sources:
        raise SourceError(f"There is no photo in {folder}.")
    return list({source.photo_id: source for source in reversed(sources)}.values())[::-1]


def _found(folder: Path) -> Iterator[PhotoSource]:
    if folder.is_file():
        yield source_of(folder)
        return
    for parts in files_below(folder):
        file = folder.joinpath(*parts)
        if may_be_photo(file):
            yield source_of(file)


def source_of(file: Path) -> PhotoSource:
    """A photo of a file."""
    return PhotoSource(sha256_of(file.read_bytes()), str(file), partial(_read, str(file)))


def _read(path: str) -> bytes:
    return on_disk(path).read_bytes()
