"""A photo that shows what a photo of a split less learnt from shows.

A published test split may have near-duplicates in its train split, and a photo added later may turn
out to show what a test photo shows. A model that learnt from the twin has seen the answer. The test
photo stays, so that results stay comparable; the twin is taken out.
"""

from __future__ import annotations

import pandas as pd

from cannabis_ml.photos.defects.split_rank import split_rank


def find(photos: pd.DataFrame) -> pd.Series:
    """Say whose twin each photo is.

    Args:
        photos: Sound ones: `path`, `group`, `cluster` and `split`.

    Returns:
        A sentence by row of `photos`, missing for those that stay. What stays of a group is all in
        one split.
    """
    told = pd.Series(pd.NA, index=photos.index, dtype="str")
    rank = photos["split"].map(split_rank)
    lowest = rank.groupby(photos["group"]).transform("min")
    torn = photos[photos["group"].isin(photos.loc[rank > lowest, "group"])]
    for _, members in torn.sort_values("path").groupby("group"):
        stays = rank[members.index] == lowest[members.index]
        twins = members[~stays]
        told[twins.index] = [_sentence(twin, members[stays]) for _, twin in twins.iterrows()]
    return told


def _sentence(twin: pd.Series, stays: pd.DataFrame) -> str:
    alike = stays[stays["cluster"].eq(twin["cluster"]).fillna(False)]
    how = "Shows the same as" if len(alike) else "Belongs with"
    of = (alike if len(alike) else stays).iloc[0]
    return f"{how} {of['path']}, which is in {of['split']}."
