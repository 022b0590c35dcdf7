"""Vetted photos as a table that ingestion reads as one more source."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cannabis_ml.feedback.judged import label_text


def feedback_photos(
    vetted: pd.DataFrame, paths: Mapping[str, str], min_confidence: float
) -> pd.DataFrame:
    """The photos whose labels are sure enough to learn from, a row each.

    Args:
        vetted: One row per photo and head: `photo_id`, `head`, `label`, `confidence` (that the
            label is right), `status`.
        paths: Where each photo can be opened, by `photo_id`; photos without a path (erased in the
            meantime) are left out.
        min_confidence: From which on a label counts, in [0, 1].

    Returns:
        `photo_id`, `path` and a text column per head, missing where the head has no label that is
        sure enough; in order of `photo_id`, so that the same feedback makes the same table.
    """
    sure = vetted[(vetted["status"] == "accepted") & (vetted["confidence"] >= min_confidence)]
    sure = sure[sure["photo_id"].isin(list(paths))]
    labels = [label_text(label) for label in sure["label"]]
    heads = sorted(sure["head"].unique())
    table = (
        sure.assign(label=labels)
        .pivot(index="photo_id", columns="head", values="label")
        .reindex(columns=heads)
        .sort_index()
        .reset_index()
    )
    table.columns.name = None
    table.insert(1, "path", [paths[name] for name in table["photo_id"]])
    return table.astype("str")
