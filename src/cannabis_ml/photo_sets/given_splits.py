"""Which of the splits that sources give are splits.

Competitions and crawls come with a `test` folder without labels: nothing can be judged by it. Taken
for the test split, it would leave no photo with a label to test on.
"""

from __future__ import annotations

import logging

import pandas as pd

from cannabis_ml.photo_sets.checks.finding import photos_of
from cannabis_ml.splits import HELD_OUT, Split
from cannabis_ml.taxonomy import Taxonomy

log = logging.getLogger(__name__)


def splits_that_count(photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """The given split of each photo, missing where it is none.

    A photo without a label is not held out by being given as validation, calibration or test. And
    where a head has labels, but none among the photos given as one of these, nor among photos that
    no split was given to, the photos given as train that it labels are divided anew, as if nothing
    had been given.

    Args:
        photos: One row per sound photo, with `given_split` and the label columns.
        taxonomy: The heads.

    Returns:
        `given_split`, with the index of `photos`.
    """
    given = photos["given_split"]
    labelled = {head.name: photos[head.columns].notna().any(axis=1) for head in taxonomy.heads}
    has_label = pd.DataFrame(labelled, index=photos.index).any(axis=1)
    if not has_label.any():
        return given
    unjudged = given.isin(HELD_OUT) & ~has_label
    for split, n in given[unjudged].value_counts().items():
        rest = int((given == split).sum()) - n
        log.warning(
            "%s without a label given as %s, by which nothing can be judged: not taken for it%s",
            photos_of(n),
            split,
            f"; {photos_of(rest)} with labels stay in it"
            if rest
            else ", and photos with labels are divided anew",
        )
    counted = given.mask(unjudged)
    anew = pd.Series(False, index=photos.index)
    for split in HELD_OUT:
        for head, has in labelled.items():
            is_given = counted.eq(split).fillna(False)
            if not is_given.any() or not has.any():
                continue
            if (has & (is_given | counted.isna())).any():
                continue
            of_head = has & counted.eq(Split.TRAIN).fillna(False)
            log.warning(
                "No photo given as %s has a label for '%s': of those given as train, %s with one"
                " are divided anew",
                split,
                head,
                photos_of(int(of_head.sum())),
            )
            anew |= of_head
    return counted.mask(anew).astype("str")
