"""Properties of photo files: what is known of a photo without looking at its subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Kind = Literal["file", "border"]


@dataclass(frozen=True)
class Property:
    """A property of the file or the border, known without looking at the plant."""

    title: str
    kind: Kind
    columns: tuple[str, ...]
    unit: str = ""


# Simple ones first: of several that separate equally well, the first is named.
PROPERTIES = (
    Property("file format", "file", ("format",)),
    Property("colour mode", "file", ("mode",)),
    Property("camera make (EXIF)", "file", ("exif_make",)),
    Property("EXIF orientation", "file", ("exif_orientation",)),
    Property("height", "file", ("height",), "px"),
    Property("width", "file", ("width",), "px"),
    Property("longer side", "file", ("longer_side",), "px"),
    Property("aspect ratio", "file", ("aspect",)),
    Property("file size", "file", ("bytes",), "bytes"),
    Property("file size per pixel", "file", ("bytes_per_pixel",), "bytes"),
    Property("mean colour of the border", "border", ("border_red", "border_green", "border_blue")),
)


def properties_of(photos: pd.DataFrame) -> pd.DataFrame:
    """Numbers of every property there is; names become numbers by how frequent they are."""
    known = {}
    for name in ("format", "mode", "exif_make", "source"):
        if name in photos:
            values = photos[name].astype("object").fillna("none").astype("str")
            ranks = {value: i for i, value in enumerate(values.value_counts().index)}
            known[name] = values.map(ranks)
    numeric = ("exif_orientation", "height", "width", "bytes")
    for name in (*numeric, "border_red", "border_green", "border_blue"):
        if name in photos:
            known[name] = pd.to_numeric(photos[name]).astype("Float64")
    if "exif_orientation" in known:
        known["exif_orientation"] = known["exif_orientation"].fillna(
            1
        )  # upright is the same as missing
    if "height" in known and "width" in known:
        known["longer_side"] = known["height"].where(
            known["height"] >= known["width"], known["width"]
        )
        known["aspect"] = known["width"] / known["height"]
        if "bytes" in known:
            known["bytes_per_pixel"] = known["bytes"] / (known["height"] * known["width"])
    return pd.DataFrame(known, index=photos.index).astype("Float64").astype("float64")


def groups_of(photos: pd.DataFrame) -> np.ndarray:
    """Photos that belong together: by group, else by near-duplicate cluster, else each its own."""
    names = pd.Series([f"row {i}" for i in range(len(photos))], index=photos.index)
    if "cluster" in photos:
        names = names.mask(photos["cluster"].notna(), "cluster " + photos["cluster"].astype("str"))
    if "group" in photos:
        names = names.mask(photos["group"].notna(), "group " + photos["group"].astype("str"))
    return pd.factorize(names)[0]
