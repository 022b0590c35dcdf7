"""Photos that must share a split: near-duplicates, copies, and groups that the source names."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from cannabis_ml.photos.near_duplicates import cluster
from cannabis_ml.photos.phash import THUMBNAIL_BYTES
from cannabis_ml.pipelines.ingestion.params import GroupParams

log = logging.getLogger(__name__)


NEAR_DUPLICATE = "near_duplicate"


def group_photos(checked_photos: pd.DataFrame, groups: GroupParams) -> pd.DataFrame:
    """Find the near-duplicates and join all that must share a split.

    A group is what hangs together by near-duplicates, by exact copies and by the source's groups,
    over any number of steps. The order of the photos does not matter.

    Args:
        checked_photos: One row per photo found, sound ones with `phash` and `thumbnail`.
        groups: What counts as near.

    Returns:
        The same rows with `cluster` (a number, missing where no other photo is near) and `group`
        filled, for sound photos, by the least name among the members: the source's group, or the
        photo's id.
    """
    photos = checked_photos.drop(columns="thumbnail")
    is_sound = photos["defect"].isna()
    photos["cluster"] = pd.array([pd.NA] * len(photos), dtype="Int64")
    photos.loc[is_sound, "cluster"] = _clusters(checked_photos[is_sound], groups)
    photos["flags"] = _flag(photos["flags"], photos["cluster"].notna())
    # Copies that were set aside tie the groups that the source put them in.
    linked = photos[is_sound | photos["duplicate_of"].notna()]
    named = _groups(linked)
    photos["group"] = photos["group"].astype("str")
    photos.loc[linked.index, "group"] = named
    near = photos["cluster"].dropna()
    log.info(
        "%s photos in %s groups; %s of them are near-duplicates in %s clusters",
        *(f"{n:,}" for n in (is_sound.sum(), photos.loc[is_sound, "group"].nunique())),
        *(f"{n:,}" for n in (len(near), near.nunique())),
    )
    return photos


def _clusters(sound: pd.DataFrame, groups: GroupParams) -> pd.Series:
    numbers = pd.Series(pd.NA, index=sound.index, dtype="Int64")
    if not groups.near_duplicates or sound.empty:
        return numbers
    pixels = b"".join(sound["thumbnail"])
    found = pd.Series(
        cluster(
            sound["phash"].to_numpy(np.uint64, na_value=0),
            np.frombuffer(pixels, np.uint8).reshape(len(sound), THUMBNAIL_BYTES),
            groups.max_distance,
            groups.max_difference,
            valid=sound["phash"].notna().to_numpy(),
        ),
        index=sound.index,
    )
    in_company = found[found.duplicated(keep=False)]
    numbers[in_company.index] = pd.factorize(in_company)[0]
    return numbers


def _flag(flags: pd.Series, is_near: pd.Series) -> pd.Series:
    """Add `near_duplicate` to what is flagged already."""
    flags = flags.astype("object").where(flags.notna(), None)
    with_it = [f"{f};{NEAR_DUPLICATE}" if f else NEAR_DUPLICATE for f in flags[is_near]]
    flags[is_near] = with_it
    return flags


def _groups(photos: pd.DataFrame) -> pd.Series:
    """The name of each photo's group."""
    from scipy.sparse import coo_array  # comes with scikit-learn
    from scipy.sparse.csgraph import connected_components

    told = photos["group"]
    # A photo is tied to each of the three things that it may share with others.
    shared = [pd.factorize(column)[0] for column in (photos["cluster"], told, photos["photo_id"])]
    rows, things, first = [], [], len(photos)
    for numbers in shared:
        is_tied = np.flatnonzero(numbers >= 0)
        rows.append(is_tied)
        things.append(first + numbers[is_tied])
        first += numbers.max(initial=-1) + 1
    ends = np.concatenate(rows), np.concatenate(things)
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(first, first))
    component = connected_components(graph, directed=False)[1][: len(photos)]
    names = told.where(told.notna(), photos["photo_id"])
    return names.groupby(component).transform("min").astype("str")
