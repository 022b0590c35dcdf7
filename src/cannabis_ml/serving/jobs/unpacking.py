"""Photos out of what was sent as a job: files of a form, or an archive that a stranger made."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, NamedTuple

from cannabis_ml.serving.problems import ServiceError

_END = struct.Struct("<4s4H2LH")
"""End of central directory record (APPNOTE 6.3.10, 4.3.16)."""

_END_BYTES = 22 + 65535
_LOCATOR_BYTES = 20

_DIRECTORY_BYTES = 1 << 20
"""Of the list of what is in an archive: it is held in memory whole."""

_SKIPPED = ("__MACOSX/",)

_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)


class Sent(NamedTuple):
    """A photo of a job as it was sent.

    Attributes:
        name: Of the file, without folders.
        data: Its bytes; None where it cannot be had.
        problem: Why not.
    """

    name: str
    data: bytes | None
    problem: str | None = None


def name_of(given: str | None) -> str:
    """The name of a file without folders, and without what cannot be printed."""
    last = PurePosixPath((given or "").replace("\\", "/")).name
    shown = "".join(c for c in last if c.isprintable() and c not in '<>"')
    return shown[-200:] or "photo"


def too_many(most: int) -> ServiceError:
    """More photos than a job may have."""
    return ServiceError(413, f"A job has at most {most:,} photos; send several jobs.")


def of_archive(file: IO[bytes], photos: int, photo_bytes: int, total_bytes: int) -> Iterator[Sent]:
    """The files of an archive, one at a time.

    Whatever sizes the archive declares, no more bytes are unpacked than allowed.

    Args:
        file: The archive.
        photos: How many files there may be.
        photo_bytes: Of one; larger ones have a problem.
        total_bytes: Of all, unpacked.

    Raises:
        ServiceError: 413 if there are too many files or bytes, 422 if it is not an archive.
    """
    with _opened(file) as archive:
        members = [one for one in archive.infolist() if _is_wanted(one)]
        if len(members) > photos:
            raise too_many(photos)
        came = 0
        for member in members:
            sent = _unpacked(archive, member, photo_bytes)
            came += len(sent.data or b"") if sent.problem is None else photo_bytes
            if came > total_bytes:
                raise ServiceError(
                    413, f"The archive holds more than {total_bytes:,} bytes; send several jobs."
                )
            yield sent


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    problem = _problem_of(file)
    if problem:
        raise ServiceError(422, f"The archive {problem}.")
    try:
        return zipfile.ZipFile(file)
    except _READ_ERRORS as error:
        raise ServiceError(422, "The archive is damaged.") from error


def _problem_of(file: IO[bytes]) -> str:
    """What speaks against opening an archive; its list is not read for it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return "is not a zip, or is damaged"
    directory_bytes = _END.unpack_from(tail, at)[5]
    if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(b"PK\x06\x07"):
        return "is a zip64; send several smaller ones"
    if directory_bytes > _DIRECTORY_BYTES:
        return "lists too many files"
    return ""


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """Neither a folder nor what an operating system adds."""
    name = member.filename
    is_hidden = PurePosixPath(name).name.startswith(".")
    return not (member.is_dir() or name.startswith(_SKIPPED) or is_hidden)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> Sent:
    name = name_of(member.filename)
    if member.flag_bits & 1:
        return Sent(name, None, "It is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Sent(name, None, "It is packed in a way that is not known here; use deflate.")
    try:
        with archive.open(member) as opened:
            data = opened.read(most + 1)
    except _READ_ERRORS:
        return Sent(name, None, "It is damaged in the archive.")
    if len(data) > most:
        return Sent(name, None, f"It is larger than {most:,} bytes.")
    return Sent(name, data)
