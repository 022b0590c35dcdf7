"""A photo whose bytes are there already.

Copies count a photo twice, and in two splits they leak. One is kept: one that the source gives as
test before validation, calibration, train and none; among equals the first by path. What other
copies say of it, head by head, the kept one says too.
"""

from __future__ import annotations

import pandas as pd

from cannabis_ml.photos.defects.split_rank import split_rank


def find(photos: pd.DataFrame) -> pd.Series:
    """Name the copy that is kept instead.

    Args:
        photos: Sound ones: `photo_id`, `path`, `given_split`.

    Returns:
        The path of the kept copy by row of `photos`, missing where a photo is kept.
    """
    order = _kept_first(photos)
    kept = order.groupby("photo_id")["path"].transform("first").reindex(photos.index)
    is_copy = order.duplicated("photo_id").reindex(photos.index)
    return kept.where(is_copy).astype("str")


def merged_labels(photos: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """What each photo's copies say together, head by head: the kept copy speaks first.

    Returns:
        The columns `labels` with the index of `photos`.
    """
    order = _kept_first(photos)
    told = order.groupby("photo_id")[labels].transform("first") if labels else order[labels]
    return told.reindex(photos.index).astype(photos[labels].dtypes)


def _kept_first(photos: pd.DataFrame) -> pd.DataFrame:
    rank = photos["given_split"].map(split_rank)
    return photos.assign(_rank=rank).sort_values(["_rank", "path"], kind="stable")
