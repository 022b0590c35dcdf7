"""Classes that are divided unevenly among splits, or lie in few groups.

Photos of one group stay together, so a class with few groups, or with one very large one, cannot be
divided as asked. A test split of one burst measures the network on that burst alone: a score over
its 44 photos is worth hardly more than one over a single photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import (
    WITHOUT,
    Finding,
    Question,
    kept,
    listed,
    questions,
)
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted


class UnevenSplitsParams(BaseModel):
    """When a class is divided unevenly."""

    model_config = ConfigDict(extra="forbid")

    min_groups: int = Field(
        default=3, ge=1, description="Name classes with fewer groups than this in a split"
    )
    max_deviation: float = Field(
        default=0.5,
        gt=0,
        description="Name classes of which a split has fewer or more photos than were asked for, by"
        " more than this share of them and by more than one photo",
    )
    max_group_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Name classes of whose photos in a split one group makes up this share or more",
    )


def find(
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    fractions: Mapping[str, float],
    params: UnevenSplitsParams,
) -> list[Finding]:
    """Name the classes whose shares differ from the configured ones, or that lie in few groups.

    What the source holds out is not held against the fractions; its groups are counted. Classes
    whose every photo is a group of its own are rare rather than uneven, and `rare_classes` names
    them.

    Args:
        photos: One row per photo, with `split`, `group` and `given_split`; those with a `defect` do
            not count.
        taxonomy: The heads.
        fractions: Split -> share of the photos asked for.
        params: The limits.

    Returns:
        At most one finding per head; it names photos, groups, and what to bring.
    """
    if not {"split", "group"} <= set(photos.columns):
        return []
    sound = kept(photos)
    sound = sound[sound["split"].notna() & sound["group"].notna()]
    given = sound["given_split"].dropna() if "given_split" in sound else pd.Series(dtype="str")
    held_out = set(given.unique()) - {Split.TRAIN}
    # What the source holds out, the fractions of the others are of the rest.
    shares = {name: share for name, share in fractions.items() if share and name not in held_out}
    in_use = [name for name in fractions if name in shares or name in held_out]
    by_head: dict[str, list[dict[str, Any]]] = {}
    for question in questions(sound, taxonomy):
        for name, rows in _answers(question, sound):
            uneven = _uneven(rows, in_use, shares, params)
            if uneven["splits"]:
                by_head.setdefault(question.head, []).append({"class": name, **uneven})
    return [_finding(head, classes, params) for head, classes in by_head.items()]


def _answers(question: Question, sound: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for answer in question.classes:
        name = answer
        if question.attribute is not None:
            name = f"without {question.attribute}" if answer == WITHOUT else question.attribute
        rows = sound[question.answers.eq(answer).fillna(False).to_numpy(bool)]
        if len(rows):
            yield name, rows


def _uneven(
    rows: pd.DataFrame, in_use: list[str], shares: Mapping[str, float], params: UnevenSplitsParams
) -> dict[str, Any]:
    """Photos and groups of one class, the splits that are uneven, and what to bring."""
    sizes = rows.groupby(["split", "group"]).size()
    free = int(rows["split"].isin(list(shares)).sum())
    splits, photos, plants = {}, 0, 0
    for split in in_use:
        ours = sizes[sizes.index.get_level_values("split") == split]
        n, groups = int(ours.sum()), len(ours)
        wanted = free * shares[split] / sum(shares.values()) if split in shares else None
        slack = max(1.0, params.max_deviation * wanted) if wanted is not None else math.inf
        short = wanted is not None and wanted - n > slack
        long = wanted is not None and n - wanted > slack
        few = groups < params.min_groups and (n > groups or wanted is None or wanted - n > 1)
        one = groups >= params.min_groups and ours.max() >= params.max_group_share * n
        if not (short or long or few or one):
            continue
        splits[split] = {
            "photos": n,
            "groups": groups,
            "largest": int(ours.max()) if groups else 0,
            "asked": None if wanted is None else round(wanted, 1),
        }
        if short or few or one:
            missing = max(1, params.min_groups - groups)
            plants += missing
            typical = float(sizes.median())
            photos += max(math.ceil((wanted or 0) - n), math.ceil(missing * typical))
    return {
        "photos": len(rows),
        "groups": rows["group"].nunique(),
        "splits": splits,
        "bring": {"photos": photos, "groups": plants},
    }


def _finding(head: str, classes: list[dict[str, Any]], params: UnevenSplitsParams) -> Finding:
    classes = sorted(classes, key=lambda c: (c["groups"], c["photos"], c["class"]))
    one = len(classes) == 1
    bring = [
        f"of '{c['class']}' about {counted(c['bring']['photos'], 'photo')} of"
        f" {c['bring']['groups']:,} more"
        for c in classes
        if c["bring"]["groups"]
    ]
    return Finding(
        check="uneven_splits",
        severity="warning",
        head=head,
        sentence=(
            f"{len(classes):,} {'class' if one else 'classes'} of '{head}' "
            f"{'is' if one else 'are'} divided unevenly: {listed(map(_in_words, classes), 4)}."
        ),
        advice=(
            (f"Bring photos of other plants or bursts: {listed(bring, 4)}. " if bring else "")
            + "They go to the splits that lack them. Until then, read scores of these classes as"
            " those of a few plants."
        ),
        classes=[c["class"] for c in classes],
        numbers={**params.model_dump(), "classes": classes},
    )


def _in_words(uneven: dict[str, Any]) -> str:
    parts = []
    for split, n in uneven["splits"].items():
        wanted = "" if n["asked"] is None else f", asked for {n['asked']:.0f}"
        largest = f", {n['largest']:,} of them one group" if n["groups"] > 1 else ""
        parts.append(f"{split} {n['photos']:,} in {counted(n['groups'], 'group')}{largest}{wanted}")
    total = f"{counted(uneven['photos'], 'photo')} in {counted(uneven['groups'], 'group')}"
    return f"'{uneven['class']}' ({total}; {'; '.join(parts)})"
