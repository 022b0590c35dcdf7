"""Classes with too few photos for training or evaluation.

A network that saw a class twenty times knows those twenty photos, not the class. A tenth of
twenty photos in the test split makes a score that one photo moves by half. Such a class passes
unnoticed in an overall accuracy and fails in use, so it is named before time is spent on training.
"""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import (
    WITH,
    Finding,
    class_counts,
    kept,
    listed,
    questions,
)
from cannabis_ml.taxonomy import Taxonomy


class RareClassesParams(BaseModel):
    """When a class is rare."""

    model_config = ConfigDict(extra="forbid")

    min_photos: int = Field(
        default=50, ge=1, description="Name classes with fewer sound photos than this"
    )


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: RareClassesParams) -> list[Finding]:
    """Name the classes that have photos, but too few.

    An attribute is learnt from photos that lack it as much as from those that show it: it is rare
    when either are few. Classes without any photo are the business of `absent_classes`.

    Args:
        photos: One row per photo; those with a `defect` do not count.
        taxonomy: The heads.
        params: The threshold.

    Returns:
        At most one finding per head, its classes by rising count.
    """
    sound = kept(photos)
    rare: dict[str, dict[str, int]] = {}
    for head, counts in class_counts(sound, taxonomy).items():
        rare[head] = {name: n for name, n in counts.items() if 0 < n < params.min_photos}
    for question in questions(sound, taxonomy):
        labelled = question.answers.dropna()
        lacking = int((labelled != WITH).sum())
        shown = len(labelled) - lacking
        if question.attribute and shown and lacking < params.min_photos:
            rare[question.head][f"without {question.attribute}"] = lacking
    groups = _groups(sound, taxonomy)
    return [
        _finding(head, dict(sorted(few.items(), key=lambda item: item[1])), groups[head], params)
        for head, few in rare.items()
        if few
    ]


def _groups(sound: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, dict[str, int]]:
    """Head -> class -> groups that its photos fall into; nothing where none are known."""
    groups_by_class: dict[str, dict[str, int]] = {head.name: {} for head in taxonomy.heads}
    if "group" not in sound or sound["group"].isna().any():
        return groups_by_class
    for question in questions(sound, taxonomy):
        counts = sound["group"].groupby(question.answers).nunique()
        for answer, n in zip(counts.index, counts.tolist(), strict=True):
            name = str(answer)
            if question.attribute is not None:
                name = question.attribute if answer == WITH else f"without {question.attribute}"
            groups_by_class[question.head][name] = n
    return groups_by_class


def _finding(
    head: str, few: dict[str, int], groups: dict[str, int], params: RareClassesParams
) -> Finding:
    one = len(few) == 1
    named = []
    for name, n in few.items():
        of = groups.get(name, n)
        in_groups = f" in {of:,} group{'' if of == 1 else 's'}" if of < n else ""
        named.append(f"'{name}' ({n:,}{in_groups})")
    return Finding(
        check="rare_classes",
        severity="warning",
        head=head,
        sentence=(
            f"{len(few):,} {'class' if one else 'classes'} of '{head}' "
            f"{'has' if one else 'have'} fewer than {params.min_photos:,} photos: "
            f"{listed(named)}."
        ),
        advice=(
            "Bring more photos of these, of other plants or bursts, merge them with a class that"
            " looks like them, or leave them out. Do not read much into their scores."
        ),
        classes=list(few),
        numbers={
            "min_photos": params.min_photos,
            "photos": few,
            "groups": {name: groups[name] for name in few if name in groups},
        },
    )
