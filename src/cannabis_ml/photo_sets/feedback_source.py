"""Photos that people labelled, as one more source of ingestion.

They pass the same checks and are divided by the same rules as all others. What they are known to be
copies of keeps its split, and takes over their labels: people corrected it.
"""

from __future__ import annotations

import logging

import pandas as pd

from cannabis_ml.photo_sets.label_checks import is_excluded
from cannabis_ml.photo_sets.labels import unify_labels
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted

logger = logging.getLogger(__name__)

SOURCE = "feedback"
"""Its name in the column `source`."""

OWN_COLUMNS = ("photo_id", "path", "sent_as")
"""Columns beside the labels: id of the stored photo, where it is, and hashes of the files that it
was sent as, joined with `;`: those of other sources if somebody labelled their photos."""


def empty_feedback_photos() -> pd.DataFrame:
    """The table of no photos."""
    return pd.DataFrame({name: pd.Series(dtype="str") for name in OWN_COLUMNS})


def add_feedback(source_photos: pd.DataFrame, feedback_photos: pd.DataFrame) -> pd.DataFrame:
    """Add the photos that people labelled, as one more source.

    Args:
        source_photos: `path`, `source`, `group`, `given_split` and raw labels.
        feedback_photos: `OWN_COLUMNS` and raw labels.

    Returns:
        The rows of both. People give no splits and no groups.
    """
    if feedback_photos.empty:
        return source_photos
    labels = feedback_photos.drop(columns=["photo_id", "sent_as"])
    added = labels.assign(source=SOURCE, group=None, given_split=None)
    both = pd.concat([source_photos, added], ignore_index=True)
    texts = dict.fromkeys(("group", "given_split", "source", "path"), "str")
    return both.astype(texts)


def note_feedback(feedback_photos: pd.DataFrame, photos: pd.DataFrame) -> pd.DataFrame:
    """Note which labels of feedback a photo set was given: a training knows them, and no later.

    Args:
        feedback_photos: As for `add_feedback`.
        photos: The photos that were kept; what was set aside was given all the same.

    Returns:
        `feedback_photos`, once there is a photo set that they went into.
    """
    logger.info(
        "%s of feedback given, %s kept as such",
        counted(len(feedback_photos), "photo"),
        f"{int((photos['source'] == SOURCE).sum()):,}",
    )
    return feedback_photos


def with_corrections(
    photo_index: pd.DataFrame, feedback_photos: pd.DataFrame, taxonomy: Taxonomy
) -> pd.DataFrame:
    """Let what people found replace the labels of the same photos in other sources.

    A photo of feedback that was sent as a file of another source gets that file's id, so that it is
    an exact copy of it and both share what is known: its split stays the one that the ledger gives.

    Args:
        photo_index: One row per file, with `photo_id`, `source`, `path` and the label columns.
        feedback_photos: As for `add_feedback`.
        taxonomy: The label columns.

    Returns:
        The rows with labels replaced. Where a class of a parent head was, and the class that the
        photo has of a child head is not allowed with it, that becomes unknown.
    """
    is_feedback = photo_index["source"] == SOURCE
    if feedback_photos.empty or not is_feedback.any():
        return photo_index
    photos = photo_index.copy()
    _adopt_ids(photos, is_feedback, feedback_photos)
    labels = unify_labels(feedback_photos.drop(columns=["sent_as"]), taxonomy)
    by_path = labels.set_axis(feedback_photos["path"])
    mine = photos.loc[is_feedback, ["photo_id", "path"]]
    verdicts = by_path.reindex(mine["path"]).set_axis(mine["photo_id"])
    verdicts = verdicts[verdicts.index.notna()].groupby(level=0).first()
    hit = ~is_feedback & photos["photo_id"].isin(verdicts.index)
    new = verdicts.reindex(photos.loc[hit, "photo_id"]).set_axis(photos.index[hit])
    old = photos.loc[hit, taxonomy.columns]
    merged = new[taxonomy.columns].combine_first(old).astype(old.dtypes)
    for head in taxonomy.heads:
        gone = is_excluded(head, merged) & new[head.columns].isna().all(axis=1)
        merged.loc[gone, head.columns] = None
    photos.loc[hit, taxonomy.columns] = merged
    changed = int(((old != merged) & (old.notna() | merged.notna())).any(axis=1).sum())
    if changed:
        logger.info("Labels of %s are now as people corrected them", counted(changed, "photo"))
    return photos


def _adopt_ids(photos: pd.DataFrame, is_feedback: pd.Series, table: pd.DataFrame) -> None:
    """Give photos of feedback the id of the file of another source that they were sent as."""
    known = set(photos.loc[~is_feedback, "photo_id"].dropna())
    ids = {
        path: next(iter(sorted(known.intersection(str(sent).split(";")))), None)
        for path, sent in zip(table["path"], table["sent_as"], strict=True)
        if isinstance(sent, str)
    }
    adopted = photos.loc[is_feedback, "path"].map(ids)
    photos.loc[is_feedback, "photo_id"] = adopted.fillna(photos.loc[is_feedback, "photo_id"])
