"""Groups: photos that must share a split, as near-duplicates, copies, or by the source."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.photo_sets.link_report import ChainReport, LinkReport, LowerLimits
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

logger = logging.getLogger(__name__)

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


def group_photos(
    checked_photos: pd.DataFrame, groups: GroupParams, engine: Engine = THREADS
) -> pd.DataFrame:
    """Find the near-duplicates and join all that must share a split.

    A group is what hangs together by near-duplicates, by exact copies and by the source's groups,
    over any number of steps. The order of the photos does not matter. Chains of near-duplicates
    that hold a large part of the photos are logged as warnings, with the limits that break them.

    Args:
        checked_photos: One row per photo found, sound ones with `phash` and `thumbnail`.
        groups: What counts as near.
        engine: Where near-duplicates are looked for.

    Returns:
        The same rows with `cluster` (a number, missing where no other photo is near) and `group`
        filled, for sound photos, by the least name among the members: the source's group, or the
        photo's id.
    """
    photos = checked_photos.drop(columns="thumbnail")
    is_sound = photos["defect"].isna()
    photos["cluster"] = pd.array([pd.NA] * len(photos), dtype="Int64")
    photos.loc[is_sound, "cluster"] = _clusters(checked_photos[is_sound], groups, engine)
    photos["flags"] = _flag(photos["flags"], photos["cluster"].notna())
    # Copies that were set aside tie the groups that the source put them in.
    linked = photos[is_sound | photos["duplicate_of"].notna()]
    named = _groups(linked)
    photos["group"] = photos["group"].astype("str")
    photos.loc[linked.index, "group"] = named
    near = photos["cluster"].dropna()
    logger.info(
        "%s photos in %s groups; %s of them are near-duplicates in %s clusters",
        *(f"{n:,}" for n in (is_sound.sum(), photos.loc[is_sound, "group"].nunique())),
        *(f"{n:,}" for n in (len(near), near.nunique())),
    )
    for chain in _chains(checked_photos[is_sound], photos.loc[is_sound, "cluster"], groups):
        logger.warning("%s\n%s", chain.sentence, chain.advice)
    return photos


def check_links(
    checked_photos: pd.DataFrame,
    divided_photos: pd.DataFrame,
    groups: GroupParams,
    engine: Engine = THREADS,
) -> LinkReport:
    """Count near-duplicates that lie in different splits.

    A pair counts if it is within the limits set or within the standard ones, whichever are wider:
    what lower limits cut is counted too. With the standard limits no link can cross.

    Args:
        checked_photos: One row per photo found, sound ones with `phash` and `thumbnail`.
        divided_photos: The same rows with `cluster` and, for photos kept, `split`.
        groups: What counts as near.
        engine: Where near-duplicates are looked for.
    """
    is_kept = divided_photos["defect"].isna()
    kept, splits = checked_photos[is_kept], divided_photos.loc[is_kept, "split"]
    distance = max(STANDARD.distance, groups.max_distance)
    difference = max(STANDARD.difference, groups.max_difference)
    report = LinkReport(
        looked_for=groups.near_duplicates,
        max_distance=distance,
        max_difference=difference,
        kept=len(kept),
        in_named_groups=int(kept["group"].notna().sum()),
        named_groups_across=int((splits.groupby(kept["group"]).nunique() > 1).sum()),
    )
    if not groups.near_duplicates:
        return report
    parts = pd.Categorical(splits, categories=SPLITS).codes.astype(int)
    hashes, thumbnails, valid = _fingerprints(kept)
    limits = Limits(distance, difference)
    crossing = links_across(hashes, thumbnails, parts, limits, valid=valid, engine=engine)
    if crossing.links:
        logger.warning(
            "%s links across splits: pairs of near-duplicates within the standard limits that"
            " ingestion.groups does not count as near",
            f"{crossing.links:,}",
        )
    across = splits[crossing.crosses].value_counts().sort_index()
    return report.model_copy(
        update={
            "across_splits": crossing.links,
            "photos_across": {str(name): int(n) for name, n in across.items()},
            "chains": _chains(kept, divided_photos.loc[is_kept, "cluster"], groups),
        }
    )


def _chains(sound: pd.DataFrame, clusters: pd.Series, groups: GroupParams) -> list[ChainReport]:
    """Clusters that hold more than their share of the photos."""
    most = max(FEW, int(groups.max_share * len(sound)))
    is_near = clusters.notna().to_numpy()
    near, numbers = sound[is_near], clusters[is_near].to_numpy(np.int64)
    if not len(near) or np.bincount(numbers).max() <= most:
        return []
    hashes, thumbnails, _ = _fingerprints(near)
    long_chains = chains(hashes, thumbnails, numbers, most, groups.limits)
    return [_reported(chain, near, len(sound), groups) for chain in long_chains]


def _reported(chain: Chain, near: pd.DataFrame, of: int, groups: GroupParams) -> ChainReport:
    paths = sorted(near["path"].iloc[chain.photos])
    return ChainReport(
        photos=len(paths),
        of=of,
        share=round(len(paths) / of, 4),
        first=paths[0],
        last=paths[-1],
        difference=round(chain.difference, 4),
        max_difference=groups.max_difference,
        lower=LowerLimits(max_distance=chain.max_distance, max_difference=chain.max_difference),
    )


def _fingerprints(photos: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, thumbnails, and whether there is a hash, of sound photos."""
    pixels = np.frombuffer(b"".join(photos["thumbnail"]), np.uint8)
    return (
        photos["phash"].to_numpy(np.uint64, na_value=0),
        pixels.reshape(len(photos), THUMBNAIL_BYTES),
        photos["phash"].notna().to_numpy(),
    )


def _clusters(sound: pd.DataFrame, groups: GroupParams, engine: Engine) -> pd.Series:
    numbers = pd.Series(pd.NA, index=sound.index, dtype="Int64")
    if not groups.near_duplicates or sound.empty:
        return numbers
    hashes, thumbnails, valid = _fingerprints(sound)
    clusters = pd.Series(
        cluster(hashes, thumbnails, groups.limits, valid=valid, engine=engine),
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
