"""Copies of one photo under different labels, or under labels that cannot be true together.

At most one of them is right, and nothing in the data says which: all are set aside, and the report
lists what each of them says. A copy without a label contradicts nobody.
"""

from __future__ import annotations

import pandas as pd

from cannabis_ml.taxonomy import Taxonomy, is_excluded

NAMED = 4
"""Labels that a sentence names."""


def find(photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """Say what the copies of a photo disagree on.

    Args:
        photos: Sound ones: `photo_id`, `path` and labels.
        taxonomy: The label columns, and which classes exclude each other.

    Returns:
        A sentence by row of `photos`, missing where no copy contradicts it.
    """
    labels = taxonomy.columns
    told = pd.Series(pd.NA, index=photos.index, dtype="str")
    copies = photos[photos.duplicated("photo_id", keep=False)]
    if copies.empty or not labels:
        return told
    together = copies.groupby("photo_id")[labels]
    wrong = together.nunique() > 1
    agreed = together.first()
    for head in taxonomy.heads:
        # Each copy may be right by itself: one says the parent's class, another this head's.
        excluded = is_excluded(head, agreed)
        wrong.loc[excluded, [name for name in (head.parent, head.name) if name in wrong]] = True
    wrong = wrong[wrong.any(axis=1)]
    for _, rows in copies[copies["photo_id"].isin(wrong.index)].groupby("photo_id"):
        columns = [c for c in labels if wrong.loc[rows["photo_id"].iloc[0], c]]
        told[rows.index] = _sentence(rows.sort_values("path", kind="stable"), columns)
    return told


def _sentence(copies: pd.DataFrame, columns: list[str]) -> str:
    is_one_file = copies["path"].nunique() == 1
    several_sources = "source" in copies and copies["source"].nunique() > 1
    said = []
    for column in columns[:NAMED]:
        first = copies[copies[column].notna()].drop_duplicates(column)
        answers = []
        for _, row in first.iterrows():
            places = [] if is_one_file else [row["path"]]
            places += [f"source {row['source']}"] if is_one_file and several_sources else []
            answers.append(f"'{row[column]}'" + "".join(f" ({place})" for place in places))
        said.append(f"{column} is {' or '.join(answers)}")
    what = f"{copies['path'].iloc[0]} is listed" if is_one_file else "The same file"
    return f"{what} under different labels: {'; '.join(said)}."
