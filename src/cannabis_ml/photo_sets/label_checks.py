"""Labels that a taxonomy does not know, and pairs of labels that it does not allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.text import counted, did_you_mean, with_items


def check_labels(
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    where: str = "the labels",
    sources: pd.Series | None = None,
) -> None:
    """Refuse labels that the taxonomy does not know, and pairs that it does not allow.

    Args:
        photos: One row per photo, with a text column per head.
        taxonomy: The classes there are.
        where: What the error calls the place that the labels are from.
        sources: The name of each photo's source, same index; when there are several, the error
            counts a label per source.

    Raises:
        TaxonomyError: One error for all heads; each unknown label with its count of photos and
            the nearest class.
    """
    unknown = []
    for head in taxonomy.heads:
        if head.kind == "multilabel" or head.name not in photos:
            continue
        labels = photos[head.name].dropna()
        wrong = labels[~labels.isin(head.class_names)]
        unknown += [
            f"{head.name}: '{label}' ({photo_count(wrong.index[wrong == label], sources)}"
            f"{did_you_mean(label, head.class_names)})"
            for label, _ in Counter(wrong).most_common()
        ]
        unknown += _impossible_pairs(head, photos, sources)
    if unknown:
        raise TaxonomyError(
            with_items(
                f"{counted(len(unknown), 'label')} in {where} "
                f"{'is' if len(unknown) == 1 else 'are'} not in the taxonomy",
                unknown,
            )
            + "\nMap them under the source's label_map or add them to parameters_taxonomy.yml."
        )


def _impossible_pairs(head: Head, photos: pd.DataFrame, sources: pd.Series | None) -> Iterable[str]:
    """Name labels that exist, but not for the class of the parent that the photo has."""
    excluded = photos[is_excluded(head, photos)]
    if excluded.empty:
        return
    for (above, label), wrong in excluded.groupby([head.parent, head.name]):
        yield (
            f"{head.name}: '{label}' where {head.parent} is '{above}' "
            f"({photo_count(wrong.index, sources)})"
        )


def is_excluded(head: Head, photos: pd.DataFrame) -> pd.Series:
    """Whether each photo has a class of `head` that its class of the parent does not allow.

    Args:
        head: A head, with a parent or without; a multilabel one excludes nothing.
        photos: One row per photo, with the label columns of the head and, if known, its parent.

    Returns:
        bool, with the index of `photos`; False where either is unknown.
    """
    excluded = pd.Series(False, index=photos.index)
    is_limited = head.kind != "multilabel" and head.parent in photos
    if not is_limited or not head.allowed or not any(head.allowed.values()):
        return excluded  # of pairs that nothing is known of, none is ruled out
    for above, allowed in head.allowed.items():
        ruled_out = set(head.class_names) - set(allowed)
        excluded |= (photos[head.parent] == above).fillna(False) & photos[head.name].isin(ruled_out)
    return excluded.astype(bool)


def photo_count(photos: pd.Index, sources: pd.Series | None = None) -> str:
    """`12 photos`, or `12 photos: 9 of field, 3 of shop` when there are several sources.

    Args:
        photos: Labels of the rows that are meant, in the index of `sources`.
        sources: The name of each photo's source.
    """
    count = counted(len(photos), "photo")
    if sources is None or sources.nunique() < 2:
        return count
    counts = Counter(sources[photos]).most_common()
    if len(counts) == 1:
        return f"{count} of {counts[0][0]}"
    return f"{count}: {', '.join(f'{n:,} of {name}' for name, n in counts)}"
