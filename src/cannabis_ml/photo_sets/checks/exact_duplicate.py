"""Exact duplicates: the same bytes as another file, or another row for the same file.

Copies count a photo twice, and in two splits they leak. One is kept: one that the source gives as
test before validation, calibration, train and none; among equals the first by path. It takes over
the labels of the other copies, head by head.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.splits import split_rank

DEFECT = Defect(
    name="exact_duplicate",
    kind="set_aside",
    title="Exact copies",
    about="The same file, byte for byte, as another photo, or listed before; one of them is kept.",
)


def find(photos: pd.DataFrame) -> pd.Series:
    """Find the row that is kept instead of each copy. A path may stand in several rows.

    Args:
        photos: Sound ones: `photo_id`, `path`, `given_split`; no label of the index twice.

    Returns:
        The index label of the kept row by row that is a copy of it, in the order of `photos`.
    """
    order = _kept_first(photos)
    labels = order.index.to_series()
    kept = labels.groupby(order["photo_id"]).transform("first")
    is_copy = order.duplicated("photo_id")
    return kept[is_copy].reindex(photos.index[is_copy.reindex(photos.index)])


def sentences(photos: pd.DataFrame, kept: pd.Series) -> pd.Series:
    """Describe each copy: the file that it is a copy of, or how often the file is listed.

    Args:
        photos: As for `find`.
        kept: As `find` returns it.
    """
    mentions = Counter(zip(photos["photo_id"], photos["path"], strict=True))
    names, paths = photos.loc[kept.index, "photo_id"], photos.loc[kept.index, "path"]
    described = []
    for photo_id, path, original in zip(names, paths, photos.loc[kept, "path"], strict=True):
        if path != original:
            described.append(f"The same file as {original}.")
            continue
        n = mentions[photo_id, path]
        times = "twice" if n == 2 else f"{n:,} times"
        described.append(f"Listed {times}: {path}; its rows were merged.")
    return pd.Series(described, index=kept.index, dtype="str")


def merged_labels(photos: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Labels of each photo merged over its copies, head by head; the kept copy takes precedence.

    Returns:
        The columns `labels` with the index of `photos`.
    """
    order = _kept_first(photos)
    merged = order.groupby("photo_id")[labels].transform("first") if labels else order[labels]
    return merged.reindex(photos.index).astype(photos[labels].dtypes)


def _kept_first(photos: pd.DataFrame) -> pd.DataFrame:
    rank = photos["given_split"].map(split_rank)
    return photos.assign(_rank=rank).sort_values(["_rank", "path"], kind="stable")
