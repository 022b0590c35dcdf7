"""Which splits given by sources can be used: those with labels.

Competitions and crawls come with a `test` folder without labels: nothing can be judged by it. Taken
for the test split, it would leave no photo with a label to test on.
"""

from __future__ import annotations

import logging

import pandas as pd

from cannabis_ml.splits import HELD_OUT, Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted

logger = logging.getLogger(__name__)


def splits_that_count(photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """The given split of each photo, missing where it cannot be used.

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
        logger.warning(
            "%s given as %s without a label, which cannot be scored: not used as such%s",
            counted(n, "photo"),
            split,
            f"; {counted(rest, 'photo')} with labels stay in it"
            if rest
            else ", and photos with labels are divided anew",
        )
    known = given.mask(unjudged)
    anew = pd.Series(False, index=photos.index)
    for split in HELD_OUT:
        for head, has in labelled.items():
            is_given = known.eq(split).fillna(False)
            if not is_given.any() or not has.any():
                continue
            if (has & (is_given | known.isna())).any():
                continue
            of_head = has & known.eq(Split.TRAIN).fillna(False)
            logger.warning(
                "No photo given as %s has a label for '%s': of those given as train, %s with one"
                " are divided anew",
                split,
                head,
                counted(int(of_head.sum()), "photo"),
            )
            anew |= of_head
    return known.mask(anew).astype("str")
