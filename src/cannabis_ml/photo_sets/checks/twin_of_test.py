"""Leakage: training photos that are near-duplicates of held-out ones, or share their group.

A published test split may have near-duplicates in its train split, and a photo added later may turn
out to show what a test photo shows. A model that learnt from the twin has seen the answer. The test
photo stays, so that results stay comparable; the twin is taken out.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.splits import split_rank

DEFECT = Defect(
    name="twin_of_test",
    kind="set_aside",
    title="Twins of test photos",
    about="Given as training, and nearly the same as a photo given as test.",
)

REMEDY = (
    "The source was divided photo by photo. To use all of them, divide them anew by group:"
    " `keep_splits: false` in the source (catalog_ingestion.yml), or --params keep_splits=false"
    " beside photos=PATH."
)
"""What to do where many of the given training photos are twins."""


def find(photos: pd.DataFrame) -> pd.Series:
    """Find photos whose group lies in a held-out split.

    Args:
        photos: Sound ones: `path`, `group`, `cluster` and `split`.

    Returns:
        A sentence by row of `photos`, missing for those that stay. What stays of a group is all in
        one split.
    """
    sentences = pd.Series(pd.NA, index=photos.index, dtype="str")
    rank = photos["split"].map(split_rank)
    leaves = rank > rank.groupby(photos["group"]).transform("min")
    twins = photos[leaves]
    if twins.empty:
        return sentences
    stay = photos[~leaves & photos["group"].isin(twins["group"])].sort_values("path")
    # A cluster lies within one group.
    alike = stay.dropna(subset="cluster").drop_duplicates("cluster").set_index("cluster")
    first = stay.drop_duplicates("group").set_index("group")
    is_alike = twins["cluster"].isin(alike.index)
    for rows, by, column, how in (
        (twins[is_alike], alike, "cluster", "Shows the same as "),
        (twins[~is_alike], first, "group", "Belongs with "),
    ):
        of = by.loc[rows[column]].set_axis(rows.index)
        sentences[rows.index] = how + of["path"] + ", which is in " + of["split"] + "."
    return sentences


def shared(photos: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Count the photos whose group the source gives to several splits.

    Args:
        photos: Sound ones, and those set aside as twins: `group` and `given_split`.

    Returns:
        Split -> photos given as it that share a group with one given as a split less learnt from,
        and all photos given as it; those splits only where there are any.
    """
    given = photos[photos["given_split"].notna()]
    rank = given["given_split"].map(split_rank).astype(int)
    leaks = rank > rank.groupby(given["group"]).transform("min")
    of_all = Counter(given["given_split"])
    leaking = Counter(given.loc[leaks, "given_split"])
    return {name: (n, of_all[name]) for name, n in sorted(leaking.items())}


def shared_sentence(counts: dict[str, tuple[int, int]]) -> str:
    """The counts of `shared` as a sentence."""
    named = [
        f"{n:,} of {of:,} photos given as {name} ({n / of:.0%})" for name, (n, of) in counts.items()
    ]
    return (
        f"{' and '.join(named)} share a group with photos that the source holds out, as copies,"
        " near-duplicates or by name: set aside."
    )
