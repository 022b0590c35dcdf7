"""Vetted photos as a table that ingestion reads as one more source."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cannabis_ml.photo_sets.feedback_source import OWN_COLUMNS, empty_feedback_photos


def feedback_photos(
    labels: pd.DataFrame, paths: Mapping[str, str], sent_as: Mapping[str, list[str]]
) -> pd.DataFrame:
    """The photos whose labels were accepted, a row each.

    Args:
        labels: `photo_id` and label columns of the taxonomy, as from `vetting.label_table`.
        paths: Where each photo can be opened, by `photo_id`; photos without a path (not kept, or
            erased in the meantime) are left out.
        sent_as: Hashes of the files that each photo was sent as, by `photo_id`.

    Returns:
        `OWN_COLUMNS` and the label columns as text (attributes 1 or 0), missing where unknown; in
        order of `photo_id`, so that the same feedback makes the same table.
    """
    kept = labels[labels["photo_id"].isin(list(paths))].sort_values("photo_id")
    known = kept.columns.drop("photo_id")
    kept = kept[kept[known].notna().any(axis=1)]
    if kept.empty:
        return empty_feedback_photos()
    own = {
        "photo_id": kept["photo_id"].astype("str"),
        "path": kept["photo_id"].map(dict(paths)).astype("str"),
        "sent_as": pd.Series(
            [";".join(sent_as.get(name, [])) for name in kept["photo_id"]],
            index=kept.index,
            dtype="str",
        ),
    }
    assert tuple(own) == OWN_COLUMNS
    texts = {name: kept[name].astype("str") for name in known}
    return pd.DataFrame({**own, **texts}).reset_index(drop=True)
