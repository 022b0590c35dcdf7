"""Copies of one photo under different labels.

At most one of them is right, and nothing in the data says which: all are set aside, and the report
lists what each of them says. A copy without a label contradicts nobody.
"""

from __future__ import annotations

import pandas as pd

NAMED = 4
"""Labels that a sentence names."""


def find(photos: pd.DataFrame, labels: list[str]) -> pd.Series:
    """Say what the copies of a photo disagree on.

    Args:
        photos: Sound ones: `photo_id`, `path` and labels.
        labels: Label columns.

    Returns:
        A sentence by row of `photos`, missing where no copy contradicts it.
    """
    told = pd.Series(pd.NA, index=photos.index, dtype="str")
    copies = photos[photos.duplicated("photo_id", keep=False)]
    if copies.empty or not labels:
        return told
    differs = copies.groupby("photo_id")[labels].nunique() > 1
    differs = differs[differs.any(axis=1)]
    for _, rows in copies[copies["photo_id"].isin(differs.index)].groupby("photo_id"):
        columns = [c for c in labels if differs.loc[rows["photo_id"].iloc[0], c]]
        told[rows.index] = _sentence(rows.sort_values("path"), columns)
    return told


def _sentence(copies: pd.DataFrame, columns: list[str]) -> str:
    said = []
    for column in columns[:NAMED]:
        known = copies[copies[column].notna()]
        first = known.drop_duplicates(column)
        answers = (f"'{row[column]}' ({row['path']})" for _, row in first.iterrows())
        said.append(f"{column} is {' or '.join(answers)}")
    return f"The same file under different labels: {'; '.join(said)}."
