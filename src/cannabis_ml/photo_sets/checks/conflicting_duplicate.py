"""Copies of one photo under different labels, or under labels that cannot be true together.

At most one label is right, and the data do not show which: all copies are set aside, and the report
lists the label of each. A copy without a label contradicts none.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from cannabis_ml.photo_sets.label_checks import is_excluded
from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.taxonomy import Taxonomy

DEFECT = Defect(
    name="conflicting_duplicate",
    kind="set_aside",
    title="Exact copies under different labels",
    about="The same file under more than one label: it is not known which is right.",
    advice="Decide which label is right and delete the other copies, or the other rows of the"
    " table",
)

NAMED = 4
"""Label columns that a sentence names."""


def find(photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """Find exact copies whose labels contradict each other.

    Args:
        photos: Sound ones: `photo_id`, `path` and labels.
        taxonomy: The label columns, and which classes exclude each other.

    Returns:
        A sentence by row of `photos`, missing where no copy contradicts it.
    """
    labels = taxonomy.columns
    sentences_by_row = pd.Series(pd.NA, index=photos.index, dtype="str")
    copies = photos[photos.duplicated("photo_id", keep=False)]
    if copies.empty or not labels:
        return sentences_by_row
    together = copies.groupby("photo_id")[labels]
    wrong = together.nunique() > 1
    agreed = together.first()
    for head in taxonomy.heads:
        # Each copy may be right by itself: one has the parent's label, another this head's.
        excluded = is_excluded(head, agreed)
        wrong.loc[excluded, [name for name in (head.parent, head.name) if name in wrong]] = True
    wrong = wrong[wrong.any(axis=1)]
    # Plain values: steps in pandas for each photo would take minutes where thousands contradict.
    disputed = {
        photo_id: [column for column, is_wrong in zip(wrong.columns, row, strict=True) if is_wrong]
        for photo_id, row in zip(wrong.index, wrong.to_numpy(bool), strict=True)
    }
    rows = copies[copies["photo_id"].isin(wrong.index)].sort_values("path", kind="stable")
    plain = rows[[c for c in ("photo_id", "path", "source", *labels) if c in rows]]
    copies_of: dict[str, list[dict[object, object]]] = {}
    for row in plain.astype(object).where(plain.notna(), None).to_dict("records"):
        copies_of.setdefault(row["photo_id"], []).append(row)
    sentences = {name: _sentence(of, disputed[name]) for name, of in copies_of.items()}
    sentences_by_row[rows.index] = rows["photo_id"].map(sentences)
    return sentences_by_row


def _sentence(copies: list[dict[object, object]], columns: list[str]) -> str:
    is_one_file = len({row["path"] for row in copies}) == 1
    several_sources = len({row.get("source") for row in copies} - {None}) > 1
    parts = []
    for column in columns[:NAMED]:
        first: dict[Any, dict[object, object]] = {}
        for row in copies:
            if row[column] is not None:
                first.setdefault(row[column], row)
        answers = []
        for answer, row in first.items():
            places = [] if is_one_file else [row["path"]]
            places += [f"source {row['source']}"] if is_one_file and several_sources else []
            answers.append(f"'{answer}'" + "".join(f" ({place})" for place in places))
        parts.append(f"{column} is {' or '.join(answers)}")
    what = f"{copies[0]['path']} is listed" if is_one_file else "The same file"
    return f"{what} under different labels: {'; '.join(parts)}."
