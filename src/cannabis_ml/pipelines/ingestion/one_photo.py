"""One photo at a time: its row of the index, and the bytes that training reads.

What runs on workers of a cluster too: functions of a row and parameters, nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cannabis_ml._io.photo_files import read_file
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.checks import FLAGGED, REPAIRED, SET_ASIDE
from cannabis_ml.photos.checks.examined_file import ExaminedFile, examine_file
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.decode import Photo, decode, read_header
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.phash import fingerprint
from cannabis_ml.photos.resize import shrink

INDEX_TYPES = {
    "photo_id": "str",
    "bytes": "Int64",
    "format": "str",
    "mode": "str",
    "width": "Int64",
    "height": "Int64",
    "exif_make": "str",
    "exif_orientation": "Int64",
    "border_red": "float64",
    "border_green": "float64",
    "border_blue": "float64",
    "brightness": "float64",
    "sharpness": "float64",
    "phash": "UInt64",
    "thumbnail": "object",
    "defect": "str",
    "detail": "str",
    "repairs": "str",
    "flags": "str",
}
"""What the index knows of a file. Sizes are those of the upright photo; colours and `brightness`
are means of 0 to 255; the border is the outer twentieth."""

ANY_SIZE = 2**62
"""Pixels: photos that are stored passed the limits when they were indexed."""


def index_row(path: str, defects: DefectParams) -> dict[str, Any]:
    """What `INDEX_TYPES` lists of one file.

    Args:
        path: As tables hold it.
        defects: Thresholds of the checks.
    """
    file = examine_file(path, defects)
    row = dict.fromkeys(INDEX_TYPES) | {"bytes": file.bytes, "photo_id": file.photo_id}
    if file.photo is not None:
        row |= _properties(file, file.photo)
        row |= fingerprint(file.photo.pixels)._asdict()
    row["defect"], row["detail"] = next(
        ((check.name, detail) for check in SET_ASIDE if (detail := check.find(file, defects))),
        (None, None),
    )
    if row["defect"] is None:
        for column, checks in (("repairs", REPAIRED), ("flags", FLAGGED)):
            names = [check.name for check in checks if check.find(file, defects)]
            row[column] = ";".join(names) or None
    return row


def _properties(file: ExaminedFile, photo: Photo) -> dict[str, Any]:
    red, green, blue = file.border or (None, None, None)
    return {
        "format": photo.format,
        "mode": photo.mode,
        "width": photo.width,
        "height": photo.height,
        "exif_make": photo.camera,
        "exif_orientation": photo.orientation,
        "border_red": red,
        "border_green": green,
        "border_blue": blue,
        "brightness": file.brightness,
        "sharpness": file.sharpness,
    }


def index_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `index_row` as a table with the types of the index."""
    columns = {}
    for name, kind in INDEX_TYPES.items():
        values = [row[name] for row in rows]
        if kind == "UInt64":  # by way of pandas, large numbers beside missing ones lose bits
            missing = np.array([value is None for value in values], bool)
            numbers = np.array([value or 0 for value in values], np.uint64)
            columns[name] = pd.Series(pd.arrays.IntegerArray(numbers, missing))
        else:
            columns[name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)


def stored_bytes(row: dict[str, Any], store: StoreParams) -> bytes:
    """The JPEG or PNG of one photo as it is stored.

    Args:
        row: With `path` and `photo_id`.
        store: Size and quality.

    Raises:
        SourceError: If the file changed or vanished since it was indexed.
    """
    try:
        data = read_file(row["path"])
    except OSError as error:
        raise SourceError(
            f"{row['path']} was there when the photos were indexed and cannot be read now"
            f" ({error.strerror}).\nBring it back, or run the ingestion pipeline again."
        ) from error
    if photo_id(data) != row["photo_id"]:
        raise SourceError(
            f"{row['path']} changed since the photos were indexed.\n"
            "Run the ingestion pipeline again."
        )
    header = read_header(data)
    is_plain = (
        header.format == "JPEG"
        and header.mode == "RGB"
        and header.orientation == 1
        and not header.has_metadata
    )
    if is_plain and min(header.width, header.height) <= store.short_side:
        return data
    # Twice the wanted size: the decoder's own scaling is coarse, the rest is averaged over areas.
    pixels = decode(data, max_pixels=ANY_SIZE, reduce_to=2 * store.short_side)
    small = Image.fromarray(shrink(pixels, store.short_side))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=store.quality, subsampling=0)
    return encoded.getvalue()
