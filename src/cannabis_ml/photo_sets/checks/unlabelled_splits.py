"""Splits in which no photo has a label for a head.

Nothing is learnt, chosen or judged by such a split: scores on it are not bad, they are not there.
"""

from __future__ import annotations

import pandas as pd

from cannabis_ml.photo_sets.checks.finding import Finding, kept
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted

_NEEDED = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def find(photos: pd.DataFrame, taxonomy: Taxonomy) -> list[Finding]:
    """Name the splits that cannot serve a head.

    Args:
        photos: One row per photo, with `split`; heads without any label are passed over.
        taxonomy: The heads.

    Returns:
        At most one finding per head.
    """
    sound = kept(photos)
    findings = []
    for head in taxonomy.heads:
        has_label = sound[head.columns].notna().any(axis=1)
        labelled = sound.loc[has_label, "split"].value_counts()
        lacking = [split for split in _NEEDED if split not in labelled]
        if has_label.any() and lacking:
            findings.append(
                Finding(
                    check="unlabelled_splits",
                    severity="warning",
                    head=head.name,
                    sentence=f"No photo in {' or '.join(lacking)} has a label for '{head.name}';"
                    f" {counted(int(has_label.sum()), 'photo')} elsewhere"
                    f" {'has' if has_label.sum() == 1 else 'have'} one.",
                    advice="Give labels to some of its photos, bring more photos with labels, or"
                    " take that split away from the source, so that the photos are divided.",
                    numbers={"labelled": {str(k): int(n) for k, n in labelled.items()}},
                )
            )
    return findings
