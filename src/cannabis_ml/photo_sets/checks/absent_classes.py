"""Classes of the taxonomy that no photo shows.

A model has an output for every class of the taxonomy and will, with some probability, predict one
that it never saw. Mostly such a class points at a label map that misspells it, a folder that was
not copied, or a taxonomy of another project.
"""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import (
    Finding,
    class_counts,
    kept,
    listed,
)
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import Name, counted


class AbsentClassesParams(BaseModel):
    """Which absent classes matter."""

    model_config = ConfigDict(extra="forbid")

    ignore: list[Name] = Field(
        default_factory=list,
        description="Heads whose absent classes are meant: photos of them come later",
    )


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: AbsentClassesParams) -> list[Finding]:
    """Name the classes without a sound photo.

    Args:
        photos: One row per photo. A class whose photos were all set aside is absent too; the
            finding counts them.
        taxonomy: The heads.
        params: The heads to pass over.

    Returns:
        At most one finding per head.
    """
    absent_counts = class_counts(photos, taxonomy)
    findings = []
    for head, counts in class_counts(kept(photos), taxonomy).items():
        absent = [name for name, n in counts.items() if n == 0]
        if absent and head not in params.ignore:
            findings.append(
                _finding(head, {name: absent_counts[head][name] for name in absent}, counts)
            )
    return findings


def _finding(head: str, absent: dict[str, int], counts: dict[str, int]) -> Finding:
    one = len(absent) == 1
    named = [
        f"'{name}' ({counted(n, 'photo')}, all set aside)" if n else f"'{name}'"
        for name, n in absent.items()
    ]
    if len(absent) == len(counts):
        sentence = f"No photo has a label for '{head}'."
        if any(absent.values()):
            sentence = f"No sound photo has a label for '{head}': {listed(named)}."
    else:
        sentence = (
            f"{len(absent):,} of the {len(counts):,} classes of '{head}' "
            f"{'has' if one else 'have'} no photos: {listed(named)}."
        )
    return Finding(
        check="absent_classes",
        severity="warning",
        head=head,
        sentence=sentence,
        advice=(
            "Look for a misspelt label map or a folder that was left behind. Otherwise bring photos"
            " or take the class out of the taxonomy: a model would predict it unseen."
        ),
        classes=list(absent),
        numbers={"classes": len(counts), "set_aside": {k: n for k, n in absent.items() if n}},
    )
