"""Opinions of people who were not shown the answer, with the answer that they are held against."""

from __future__ import annotations

import pandas as pd

_OF_ANSWER = ["answered", "answered_confidence", "bundle_id", "tier"]


def with_answers(opinions: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Set the answer beside opinions on audited photos that came without one.

    Who judges an audited photo does not see what was answered, so the opinion comes without it. Of
    other photos opinions without an answer stay as they are: those were not drawn uniformly.

    Args:
        opinions: As from `opinions_table`.
        answers: See `columns.ANSWER_COLUMNS`; the latest of a photo and head counts.

    Returns:
        `opinions` in the same order.
    """
    lacks = opinions["audit"].astype(bool) & opinions["answered"].isna()
    if not lacks.any() or answers.empty:
        return opinions
    latest = answers.sort_values("at", kind="stable").drop_duplicates(
        ["photo_id", "head"], keep="last"
    )
    keys = ["photo_id", "head"]
    joined = opinions.loc[lacks, keys].merge(latest[[*keys, *_OF_ANSWER]], on=keys, how="left")
    filled = opinions.copy()
    known = joined["bundle_id"].notna().to_numpy()
    rows = opinions.index[lacks][known]
    for name in _OF_ANSWER:
        values = joined.loc[known, name].to_numpy()
        filled.loc[rows, name] = pd.Series(list(values), index=rows, dtype=opinions[name].dtype)
    return filled
