"""Defects that leave no usable photo."""

from __future__ import annotations

from functools import partial

from cannabis_ml.photos.checks.check import Check
from cannabis_ml.photos.checks.examined_file import ExaminedFile
from cannabis_ml.photos.checks.params import DefectParams

_set_aside = partial(Check, kind="set_aside")


def _failure(
    name: str, title: str, about: str, advice: str = "", only_of_photos: bool = True
) -> Check:
    """Files that reading or decoding failed on for the reason `name`; the sentence is theirs."""

    def find(file: ExaminedFile, params: DefectParams) -> str | None:
        return file.failure.detail if file.failure and file.failure.defect == name else None

    return _set_aside(
        name=name,
        title=title,
        about=about,
        advice=advice,
        only_of_photos=only_of_photos,
        find=find,
    )


def _too_small(file: ExaminedFile, params: DefectParams) -> str | None:
    photo = file.photo
    if photo is None or min(photo.width, photo.height) >= params.too_small_side:
        return None
    return (
        f"{photo.width} x {photo.height} pixels, the short side is below {params.too_small_side}."
    )


SET_ASIDE = (
    # Others of a table's photos may still be good, so the run goes on.
    _failure(
        "missing",
        title="Missing files",
        about="There is no such file.",
        advice="Correct the paths or bring the files",
    ),
    # A few kilobytes can claim a billion pixels (a decompression bomb). Decided by the header,
    # before a pixel is decoded. Thresholds: `too_large_pixels` and `too_large_megabytes`.
    _failure(
        "too_large",
        title="Too large",
        about="More pixels or bytes than the limits allow.",
        advice="Raise the limits under ingestion.defects if these are photos that you want",
        only_of_photos=False,
    ),
    # What a download or a copy leaves that failed at once.
    _failure(
        "empty",
        title="Empty files",
        about="The file has no bytes.",
        advice="Fetch these files again",
        only_of_photos=False,
    ),
    # A repository cloned without Git LFS has texts of 130 bytes under the names of its photos. One
    # command brings them, so they are listed apart from files that are merely broken.
    _failure(
        "lfs_pointer",
        title="Git LFS pointers",
        about="A text that stands for the photo; the photo itself was never fetched.",
        advice="Run `git lfs pull` where these came from",
    ),
    # Web pages saved under the name of a photo, text, SVG drawings, stray files of programs.
    _failure(
        "not_an_image",
        title="Not images",
        about="No image format that is known here.",
        only_of_photos=False,
    ),
    # Decoders that forgive paint the rest gray, and a network learns that gray means whatever
    # class was downloaded over the worse line.
    _failure(
        "truncated",
        title="Cut short",
        about="The file ends before the photo does.",
        advice="Fetch these files again",
    ),
    # Whatever else keeps a file from being decoded.
    _failure(
        "unreadable",
        title="Unreadable",
        about="The file is damaged or of a kind that cannot be read here.",
        advice="Convert or fetch these files again",
    ),
    # Icons, thumbnails of thumbnails, tracking pixels: enlarged they are a blur under a label.
    # Threshold: `too_small_side`.
    _set_aside(
        name="too_small",
        title="Too small",
        about="Too few pixels to see anything by.",
        find=_too_small,
    ),
)
"""In the order in which they are asked: the first that finds something is the defect."""
