"""One file, read and decoded once: all that the checks need, and nothing large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from cannabis_ml._io.photo_files import file_size, read_file
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.decode import Photo, UnreadableError, examine
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.resize import shrink

WORKING_SIDE = 256
"""Pixels of the short side at which photos are judged. Sharpness depends on it: a photo of 12
megapixels is judged as it will be stored, not by the noise of its sensor."""

BORDER = 0.05
"""Of each side: how much of a photo counts as its border."""


@dataclass(frozen=True)
class ExaminedFile:
    """What a file holds, or why it cannot be read.

    Attributes:
        path: As the source names it.
        bytes: Size of the file, or None where there is none.
        photo_id: SHA-256 of its bytes, or None where they were not read.
        failure: Why it gives no photo, or None.
        photo: Its metadata, with `pixels` of `WORKING_SIDE`; None where it cannot be read.
    """

    path: str
    bytes: int | None = None
    photo_id: str | None = None
    failure: UnreadableError | None = None
    photo: Photo | None = None

    @property
    def mode(self) -> str | None:
        """Pillow's mode without byte order: `I;16` is `I`; None where there is no photo."""
        return self.photo.mode.partition(";")[0] if self.photo else None

    @cached_property
    def gray(self) -> np.ndarray:
        """uint8 (h, w): luma of the small photo; empty where there is no photo."""
        if self.photo is None:
            return np.empty((0, 0), np.uint8)
        return cv2.cvtColor(self.photo.pixels, cv2.COLOR_RGB2GRAY)

    @cached_property
    def sharpness(self) -> float | None:
        """Variance of the Laplacian at the working size."""
        if not self.gray.size:
            return None
        edges = cv2.Laplacian(self.gray, cv2.CV_16S)
        mean = cv2.sumElems(edges)[0] / edges.size
        return float(cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2)

    @cached_property
    def _luma(self) -> tuple[float, float]:
        mean, spread = cv2.meanStdDev(self.gray)
        return float(mean.item()), float(spread.item())

    @property
    def brightness(self) -> float | None:
        """Mean luma, 0 to 255."""
        return self._luma[0] if self.gray.size else None

    @property
    def contrast(self) -> float | None:
        """Standard deviation of luma, 0 to 128; at most that of the channel that varies most."""
        return self._luma[1] if self.gray.size else None

    @cached_property
    def border(self) -> tuple[float, float, float] | None:
        """Mean red, green and blue, 0 to 255, of the outer frame."""
        if self.photo is None:
            return None
        pixels = self.photo.pixels
        height, width = pixels.shape[:2]
        top, left = max(1, round(height * BORDER)), max(1, round(width * BORDER))
        inner = pixels[top : height - top, left : width - left]
        total = np.array(cv2.sumElems(pixels)[:3])
        if inner.size:
            total -= np.array(cv2.sumElems(inner)[:3])
        count = height * width - inner.shape[0] * inner.shape[1]
        red, green, blue = (total / count).tolist()
        return red, green, blue


def examine_file(path: str, params: DefectParams) -> ExaminedFile:
    """Read and decode a file. Nothing that is wrong with it raises an error.

    A JPEG is decoded at a fraction of its size, which still reads every one of its bytes.

    Args:
        path: On this machine, or a URL.
        params: Limits of size.

    Raises:
        SourceError: If another file system does not answer, which says nothing of the photo.
    """
    size = None
    try:
        size = file_size(path)
        if size is None:  # reading a pipe would wait for ever
            raise UnreadableError("unreadable", "This is not a file but a device, pipe or folder.")
        if size > params.too_large_megabytes * 1_000_000:
            raise UnreadableError(
                "too_large",
                f"{size // 1_000_000:,} MB, more than the {params.too_large_megabytes:,} allowed.",
            )
        data = read_file(path)
    except UnreadableError as failure:
        return ExaminedFile(path, size, failure=failure)
    except FileNotFoundError:
        return ExaminedFile(path, failure=UnreadableError("missing", "There is no such file."))
    except (OSError, ValueError) as error:
        message = f"The file cannot be opened ({error})."
        return ExaminedFile(path, size, failure=UnreadableError("unreadable", message))
    return examine_bytes(path, data, params)


def examine_bytes(path: str, data: bytes, params: DefectParams) -> ExaminedFile:
    """Decode the bytes of a file, as `examine_file` does."""
    size, name = len(data), photo_id(data)
    try:
        photo = examine(data, max_pixels=params.too_large_pixels, reduce_to=WORKING_SIDE)
    except UnreadableError as failure:
        return ExaminedFile(path, size, name, failure=failure)
    small = np.ascontiguousarray(shrink(photo.pixels, WORKING_SIDE))
    return ExaminedFile(path, size, name, photo=replace(photo, pixels=small))


def examine_pixels(pixels: np.ndarray) -> ExaminedFile:
    """A decoded photo, as `examine_bytes` would find it in a file without metadata.

    Args:
        pixels: uint8 RGB (height, width, 3), upright; of the size in the file, or with a short side
            of at least `WORKING_SIDE`.
    """
    height, width = pixels.shape[:2]
    small = np.ascontiguousarray(shrink(pixels, WORKING_SIDE))
    photo = Photo("pixels", width, height, "RGB", orientation=1, has_metadata=False, pixels=small)
    return ExaminedFile("", photo=photo)
