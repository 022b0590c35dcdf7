"""Defects that leave no usable photo."""

from __future__ import annotations

from collections.abc import Callable

from cannabis_ml.photos.checks.check import Check
from cannabis_ml.photos.checks.examined_file import ExaminedFile
from cannabis_ml.photos.checks.params import DefectParams


def _failed_as(defect: str) -> Callable[[ExaminedFile, DefectParams], str | None]:
    """Find files that reading or decoding failed on for this reason; the sentence is theirs."""

    def find(file: ExaminedFile, params: DefectParams) -> str | None:
        return file.failure.detail if file.failure and file.failure.defect == defect else None

    return find


def _too_small(file: ExaminedFile, params: DefectParams) -> str | None:
    photo = file.photo
    if photo is None or min(photo.width, photo.height) >= params.too_small_side:
        return None
    return (
        f"{photo.width} x {photo.height} pixels, the short side is below {params.too_small_side}."
    )


SET_ASIDE = (
    # Others of a table's photos may still be good, so the run goes on.
    Check(
        name="missing",
        kind="set_aside",
        title="Missing files",
        about="There is no such file.",
        advice="Correct the paths or bring the files",
        find=_failed_as("missing"),
    ),
    # A few kilobytes can claim a billion pixels (a decompression bomb). Decided by the header,
    # before a pixel is decoded. Thresholds: `too_large_pixels` and `too_large_megabytes`.
    Check(
        name="too_large",
        kind="set_aside",
        title="Too large",
        about="More pixels or bytes than the limits allow.",
        advice="Raise the limits under ingestion.defects if these are photos that you want",
        only_of_photos=False,
        find=_failed_as("too_large"),
    ),
    # What a download or a copy leaves that failed at once.
    Check(
        name="empty",
        kind="set_aside",
        title="Empty files",
        about="The file has no bytes.",
        advice="Fetch these files again",
        only_of_photos=False,
        find=_failed_as("empty"),
    ),
    # A repository cloned without Git LFS has texts of 130 bytes under the names of its photos. One
    # command brings them, so they are listed apart from files that are merely broken.
    Check(
        name="lfs_pointer",
        kind="set_aside",
        title="Git LFS pointers",
        about="A text that stands for the photo; the photo itself was never fetched.",
        advice="Run `git lfs pull` where these came from",
        find=_failed_as("lfs_pointer"),
    ),
    # Web pages saved under the name of a photo, text, SVG drawings, stray files of programs.
    Check(
        name="not_an_image",
        kind="set_aside",
        title="Not images",
        about="No image format that is known here.",
        only_of_photos=False,
        find=_failed_as("not_an_image"),
    ),
    # Decoders that forgive paint the rest gray, and a network learns that gray means whatever
    # class was downloaded over the worse line.
    Check(
        name="truncated",
        kind="set_aside",
        title="Cut short",
        about="The file ends before the photo does.",
        advice="Fetch these files again",
        find=_failed_as("truncated"),
    ),
    # Whatever else keeps a file from being decoded.
    Check(
        name="unreadable",
        kind="set_aside",
        title="Unreadable",
        about="The file is damaged or of a kind that cannot be read here.",
        advice="Convert or fetch these files again",
        find=_failed_as("unreadable"),
    ),
    # Icons, thumbnails of thumbnails, tracking pixels: enlarged they are a blur under a label.
    # Threshold: `too_small_side`.
    Check(
        name="too_small",
        kind="set_aside",
        title="Too small",
        about="Too few pixels to see anything by.",
        find=_too_small,
    ),
)
"""In the order in which they are asked: the first that finds something is the defect."""
