"""Photos of a folder or of the photo set, as commands ask about them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cannabis_ml._io.file_names import on_disk
from cannabis_ml.errors import ConfigError
from cannabis_ml.splits import Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cannabis_ml.assistant.outgoing import PhotoSource
    from cannabis_ml.assistant.reviewing import LabelledPhoto
    from cannabis_ml.cli_assistant.project import Project
    from cannabis_ml.photo_sets.photo_set import PhotoSet
    from cannabis_ml.taxonomy import Head

MOST = 100
"""Photos that are looked at, unless told otherwise."""


def source_in(photo_set: PhotoSet, row: int, path: object) -> PhotoSource:
    """A photo of a set: its file where that is still there, else as the set holds it."""
    from cannabis_ml.assistant.outgoing import PhotoSource, source_of
    from cannabis_ml.photos.fingerprint import photo_id

    if isinstance(path, str) and path and on_disk(path).is_file():
        return source_of(on_disk(path))
    stored = partial(photo_set.stored, row)
    return PhotoSource(photo_id(stored()), "", stored)


def photos_to_review(
    project: Project, photo_set: PhotoSet, head: Head, which: str, most: int
) -> list[LabelledPhoto]:
    """Training photos whose label is looked at again.

    Args:
        project: Gives tables that `label_next` wrote.
        photo_set: The photos.
        head: Whose labels.
        which: `sample`, `errors` (suspected by confident learning) or `worst` (of the classes that
            the bundle recognizes worst).
        most: At most.

    Raises:
        ConfigError: If the tables are not there, or no photo is left.
    """
    from cannabis_ml.assistant.reviewing import LabelledPhoto

    labels = photo_set.labels()
    if head.name not in labels:
        raise ConfigError(f"No photo has a label for '{head.name}'.")
    mine = labels.iloc[photo_set.rows_of(Split.TRAIN)]
    mine = mine[mine[head.name].isin(head.class_names)]
    rows = _chosen(project, mine, head, which)[:most]
    if not len(rows):
        raise ConfigError(f"There is no labelled training photo to review ({which}).")
    found = []
    for row in rows:
        path = labels["path"].iloc[row] if "path" in labels else ""
        source = source_in(photo_set, int(row), path)
        found.append(LabelledPhoto(source, str(labels[head.name].iloc[row])))
    return found


def _chosen(project: Project, mine: pd.DataFrame, head: Head, which: str) -> np.ndarray:
    """Rows of the photo set, those to look at first at the top."""
    import numpy as np

    params = project.params.review
    random = np.random.default_rng(params.seed)
    if which == "errors":
        listed = project.table("label_errors")
        place = {photo: row for row, photo in zip(mine.index, mine["photo_id"], strict=True)}
        return np.array([place[p] for p in listed["photo_id"] if p in place], np.int64)
    if which == "worst":
        seen = project.table("photos_seen").dropna(subset=["label"])
        recall = (seen["label"] == seen["answered"]).groupby(seen["label"]).mean()
        worst = set(recall.nsmallest(params.worst_classes).index)
        mine = mine[mine[head.name].isin(worst)]
    return random.permutation(mine.index.to_numpy(np.int64))
