"""Groups: photos that must share a split, as near-duplicates, copies, or by the source."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.near_duplicates import (
    DEFECT,
    MAX_DIFFERENCE,
    MAX_DISTANCE,
    STANDARD,
    Chain,
    Limits,
    chains,
    cluster,
    links_across,
)
from cannabis_ml.photos.phash import THUMBNAIL_BYTES
from cannabis_ml.splits import SPLITS

log = logging.getLogger(__name__)

FEW = 10
"""Photos that a chain may have in any set."""


class GroupParams(BaseModel):
    """Which photos show the same and must share a split."""

    model_config = ConfigDict(extra="forbid")

    near_duplicates: bool = Field(
        default=True, description="Whether to look for them; false leaves the source's groups"
    )
    max_distance: int = Field(
        default=MAX_DISTANCE, ge=0, le=10, description="Bits of 64 in which hashes may differ"
    )
    max_difference: float = Field(
        default=MAX_DIFFERENCE, ge=0, le=2, description="Up to which thumbnails may differ"
    )
    max_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of the photos in one chain of near-duplicates above which a warning"
        " names the limits that break it",
    )

    @property
    def limits(self) -> Limits:
        """How much near-duplicates may differ."""
        return Limits(self.max_distance, self.max_difference)


def group_photos(checked_photos: pd.DataFrame, groups: GroupParams) -> pd.DataFrame:
    """Find the near-duplicates and join all that must share a split.

    A group is what hangs together by near-duplicates, by exact copies and by the source's groups,
    over any number of steps. The order of the photos does not matter. Chains of near-duplicates
    that hold a large part of the photos are logged as warnings, with the limits that break them.

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
    for chain in _chains(checked_photos[is_sound], photos.loc[is_sound, "cluster"], groups):
        log.warning("%s\n%s", chain_sentence(chain), chain_advice(chain))
    return photos


def check_links(
    checked_photos: pd.DataFrame, divided_photos: pd.DataFrame, groups: GroupParams
) -> dict[str, Any]:
    """Count near-duplicates that lie in different splits.

    A pair counts if it is within the limits set or within the standard ones, whichever are wider:
    what lower limits cut is counted too. With the standard limits no link can cross.

    Args:
        checked_photos: One row per photo found, sound ones with `phash` and `thumbnail`.
        divided_photos: The same rows with `cluster` and, for photos kept, `split`.
        groups: What counts as near.

    Returns:
        Plain JSON values: `looked_for` (whether near-duplicates were), `max_distance` and
        `max_difference` (the limits that pairs were counted within), `across_splits` (pairs in
        different splits; null if none were looked for), `photos_across` (split -> its photos in
        such pairs), `kept` (photos), `in_named_groups` (those whose source names their plant,
        burst or what else must stay together), `named_groups_across` (such groups in several
        splits) and `chains`.
    """
    is_kept = divided_photos["defect"].isna()
    kept, splits = checked_photos[is_kept], divided_photos.loc[is_kept, "split"]
    distance = max(STANDARD.distance, groups.max_distance)
    difference = max(STANDARD.difference, groups.max_difference)
    report: dict[str, Any] = {
        "looked_for": groups.near_duplicates,
        "max_distance": distance,
        "max_difference": difference,
        "across_splits": None,
        "photos_across": {},
        "kept": len(kept),
        "in_named_groups": int(kept["group"].notna().sum()),
        "named_groups_across": int((splits.groupby(kept["group"]).nunique() > 1).sum()),
        "chains": [],
    }
    if not groups.near_duplicates:
        return report
    parts = pd.Categorical(splits, categories=SPLITS).codes.astype(int)
    hashes, thumbnails, valid = _fingerprints(kept)
    crossing = links_across(hashes, thumbnails, parts, Limits(distance, difference), valid=valid)
    report["across_splits"] = crossing.links
    report["photos_across"] = {
        name: int(n) for name, n in splits[crossing.crosses].value_counts().sort_index().items()
    }
    report["chains"] = _chains(kept, divided_photos.loc[is_kept, "cluster"], groups)
    if crossing.links:
        log.warning(
            "%s links across splits: pairs of near-duplicates within the standard limits that"
            " ingestion.groups does not count as near",
            f"{crossing.links:,}",
        )
    return report


def chain_sentence(chain: dict[str, Any]) -> str:
    """A chain of `check_links`, as a sentence."""
    return (
        f"A chain of near-duplicates holds {chain['photos']:,} of {chain['of']:,} photos "
        f"({chain['share']:.0%}), from {chain['first']} to {chain['last']}: each is nearly the same"
        f" as another, and the farthest differs from the first by {chain['difference']:.3f}, where"
        f" {chain['max_difference']:g} makes near-duplicates. They all share one split."
    )


def chain_advice(chain: dict[str, Any]) -> str:
    """What to do about a chain of `check_links`."""
    lower = [
        f"{name} to {chain['lower'][name]:g}"
        for name in ("max_difference", "max_distance")
        if chain["lower"][name] is not None
    ]
    if not lower:
        return "No lower limits break it: bring photos of other plants."
    return (
        "If they show one plant, bring photos of others. If not, lower"
        f" ingestion.groups.{' or '.join(lower)}: then no part of it is as large. The pairs that"
        " this cuts are counted as links across splits."
    )


def _chains(sound: pd.DataFrame, clusters: pd.Series, groups: GroupParams) -> list[dict[str, Any]]:
    """Clusters that hold more than their share of the photos, as plain JSON values."""
    most = max(FEW, int(groups.max_share * len(sound)))
    is_near = clusters.notna().to_numpy()
    near, numbers = sound[is_near], clusters[is_near].to_numpy(np.int64)
    if not len(near) or np.bincount(numbers).max() <= most:
        return []
    hashes, thumbnails, _ = _fingerprints(near)
    long_chains = chains(hashes, thumbnails, numbers, most, groups.limits)
    return [_as_numbers(chain, near, len(sound), groups) for chain in long_chains]


def _as_numbers(chain: Chain, near: pd.DataFrame, of: int, groups: GroupParams) -> dict[str, Any]:
    paths = sorted(near["path"].iloc[chain.photos])
    return {
        "photos": len(paths),
        "of": of,
        "share": round(len(paths) / of, 4),
        "first": paths[0],
        "last": paths[-1],
        "difference": round(chain.difference, 4),
        "max_difference": groups.max_difference,
        "lower": {"max_distance": chain.max_distance, "max_difference": chain.max_difference},
    }


def _fingerprints(photos: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, thumbnails, and whether there is a hash, of sound photos."""
    pixels = np.frombuffer(b"".join(photos["thumbnail"]), np.uint8)
    return (
        photos["phash"].to_numpy(np.uint64, na_value=0),
        pixels.reshape(len(photos), THUMBNAIL_BYTES),
        photos["phash"].notna().to_numpy(),
    )


def _clusters(sound: pd.DataFrame, groups: GroupParams) -> pd.Series:
    numbers = pd.Series(pd.NA, index=sound.index, dtype="Int64")
    if not groups.near_duplicates or sound.empty:
        return numbers
    hashes, thumbnails, valid = _fingerprints(sound)
    clusters = pd.Series(
        cluster(hashes, thumbnails, groups.limits, valid=valid),
        index=sound.index,
    )
    in_company = clusters[clusters.duplicated(keep=False)]
    numbers[in_company.index] = pd.factorize(in_company)[0]
    return numbers


def _flag(flags: pd.Series, is_near: pd.Series) -> pd.Series:
    """Add `near_duplicate` to what is flagged already."""
    flags = flags.astype("object").where(flags.notna(), None)
    flags[is_near] = [f"{f};{DEFECT.name}" if f else DEFECT.name for f in flags[is_near]]
    return flags


def _groups(photos: pd.DataFrame) -> pd.Series:
    """The name of each photo's group."""
    from scipy.sparse import coo_array  # comes with scikit-learn
    from scipy.sparse.csgraph import connected_components

    given = photos["group"]
    # A photo is tied to each of the three things that it may share with others.
    shared = [pd.factorize(column)[0] for column in (photos["cluster"], given, photos["photo_id"])]
    rows, things, first = [], [], len(photos)
    for numbers in shared:
        is_tied = np.flatnonzero(numbers >= 0)
        rows.append(is_tied)
        things.append(first + numbers[is_tied])
        first += numbers.max(initial=-1) + 1
    ends = np.concatenate(rows), np.concatenate(things)
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(first, first))
    component = connected_components(graph, directed=False)[1][: len(photos)]
    names = given.where(given.notna(), photos["photo_id"])
    return names.groupby(component).transform("min").astype("str")
