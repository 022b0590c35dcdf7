"""The base of all sources: fields, columns, and how labels are normalized."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cannabis_ml._io.file_names import on_disk, printable
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.split_names import WORDS, SplitMap, split_of_value
from cannabis_ml.splits import Split
from cannabis_ml.text import Name, NormalNames, counted, normal

SOURCE_COLUMNS = ("path", "source", "group", "given_split")
"""The columns of every source beside the labels."""

LISTED = 8
"""How many names an error lists before `and N more`."""

# YAML reads a folder called 2024 as a number.
Text = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]


def _check_pattern(pattern: str) -> str:
    pattern = unicodedata.normalize("NFC", pattern)  # as the names that it is held against
    try:
        named = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if not named:
        raise ValueError(f"{pattern!r} names no group: write (?P<name>…) around what is wanted")
    return pattern


NamedPattern = Annotated[str, AfterValidator(_check_pattern)]
"""A regular expression with at least one named group."""

Labels = Annotated[dict[Name, Name | None], NormalNames]
"""Head or label as written -> class, or null (unknown)."""

NameMap = Annotated[dict[Name, Name | Labels | None], NormalNames]
"""A name that stands for labels -> class, or head -> class, or null (unknown)."""

HeadMap = Annotated[dict[Name, Labels], NormalNames]
"""Head -> label as written -> class, or null (unknown)."""


class Source(BaseModel):
    """The fields that every kind of source has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text | None = Field(default=None, description="Where the photos are; null: not set yet")
    defaults: Annotated[dict[Name, Name], NormalNames] = Field(
        default_factory=dict,
        description="Head -> class of the photos that the source gives no label for; a label that"
        " label_map makes null stays unknown",
    )
    keep_splits: bool = Field(
        default=True,
        description="Whether the splits that the source names stay as they are; false: all its"
        " photos are divided anew, by group",
    )

    def read(self) -> pd.DataFrame:
        """List the photos: `path`, `group`, `given_split` and a text column per head or attribute.

        Raises:
            SourceError: If they cannot be listed; gives the reason and what to do.
        """
        raise NotImplementedError

    def found_path(self) -> Path:
        """The path with `~` expanded.

        Raises:
            SourceError: If no path was given, or nothing is there.
        """
        if not self.path:
            raise SourceError("The source has no `path`.\nGive it one in catalog_ingestion.yml.")
        path = on_disk(Path(self.path).expanduser())
        if not path.exists():
            near = next((p for p in path.parents if p.exists()), None)
            raise SourceError(
                f"{path} does not exist{f' (up to {near} it does)' if near else ''}.\n"
                "Check the path for typing errors; a relative one starts at the project's folder."
            )
        return path

    def exists(self) -> bool:
        """Whether `read` needs nothing but the disk."""
        return bool(self.path) and on_disk(Path(str(self.path)).expanduser()).exists()


class GroupedSource(Source):
    """A source that can read off names which photos must share a split."""

    group_pattern: NamedPattern | None = Field(
        default=None,
        description="Regular expression searched in each photo's path (with /, from the source's"
        " root); what its named groups match makes the group, as (?P<group>plant\\d+)_. Photos"
        " whose path does not match are on their own",
    )
    group_run: int = Field(
        default=1,
        ge=1,
        description="When group_pattern names a part (?P<number>\\d+): how many consecutive"
        " numbers make one group",
    )

    def groups_by_name(self, names: Sequence[str]) -> list[str | None]:
        """Read the group off each path; None where the pattern does not match or is not set.

        A run of numbers is cut at multiples of `group_run`, not at gaps, so that a group never
        changes when photos are added. The price: what spans such a multiple falls into two.

        Raises:
            SourceError: If the pattern matches no photo at all.
        """
        if not self.group_pattern:
            return [None] * len(names)
        pattern = re.compile(self.group_pattern)
        groups = [self._group(pattern, normal(name)) for name in names]
        if names and not any(groups) and "group_pattern" in self.model_fields_set:
            raise SourceError(
                f"The group_pattern {self.group_pattern!r} matches none of the "
                f"{counted(len(names), 'photo')}, such as '{names[0]}'.\n"
                "Mend it in catalog_ingestion.yml, or leave it out if names do not hold groups."
            )
        return groups

    def _group(self, pattern: re.Pattern[str], name: str) -> str | None:
        match = pattern.search(name)
        if match is None:
            return None
        parts = []
        for key, part in match.groupdict().items():
            if part is None:
                continue
            is_counted = key == "number" and part.isdigit()
            parts.append(str(int(part) // self.group_run) if is_counted else part)
        return "/".join(parts) or None


class SplitSource(GroupedSource):
    """A source that names splits, by folders, in a column or as a data set's own."""

    split_map: SplitMap = Field(
        default_factory=dict,
        description="Name of a split as written -> train, validation, calibration or test, or null"
        " (not a split); comes before what the name seems to mean",
    )


def source_frame(columns: Mapping[str, Sequence[str | None]]) -> pd.DataFrame:
    """Make the table of a source: text columns that UTF-8 can hold, missing where unknown."""
    return pd.DataFrame(
        {
            name: pd.Series([v and printable(v) for v in values], dtype="str")
            for name, values in columns.items()
        }
    )


def labels_of_name(
    name: str, label_map: NameMap, heads: Sequence[str]
) -> dict[str, str | None] | None:
    """Look up what a name stands for in a label map.

    Args:
        name: Of a class folder or a category, in its normal form.
        label_map: What the names stand for.
        heads: The heads that the source answers by itself.

    Returns:
        Head -> class or None (unknown); None if the map does not have the name.

    Raises:
        SourceError: If the map gives one class where there are several heads.
    """
    if name not in label_map:
        return None
    mapped = label_map[name]
    if isinstance(mapped, dict):
        return dict(mapped)
    if mapped is None:
        return dict.fromkeys(heads)
    if len(heads) == 1:
        return {heads[0]: mapped}
    raise SourceError(
        f"label_map maps '{name}' to '{mapped}', but this source has the heads"
        f" {', '.join(heads)}.\n"
        f"Name the head: '{name}': {{head: '{mapped}'}}."
    )


def columns_by_name(
    names: Iterable[Sequence[str]],
    labels: Mapping[str, Mapping[str, str | None]],
    defaults: Mapping[str, str],
) -> dict[str, list[str | None]]:
    """Spread the labels that names stand for over a column per head, defaults filled in.

    Args:
        names: The class folder or the categories of each photo.
        labels: Name -> head -> class or None (unknown).
        defaults: Head -> class where no name of a photo has a label of the head.

    Returns:
        Head -> class of each photo; None where unknown, and where the names contradict each other.
    """
    heads = {head for of in labels.values() for head in of} | set(defaults)
    columns: dict[str, list[str | None]] = {head: [] for head in sorted(heads)}
    for of_photo in names:
        for head, column in columns.items():
            given = {labels[name][head] for name in of_photo if head in labels[name]}
            known = given - {None}
            otherwise = None if given else defaults.get(head)
            column.append(known.pop() if len(known) == 1 else otherwise)
    return columns


def label_column(
    cells: Iterable[Any],
    mapping: Mapping[str, str | None],
    default: str | None,
    photos: Sequence[str],
) -> list[str | None]:
    """Spell a column of labels as text, mapped, with the default where all cells are empty.

    Args:
        cells: One per row.
        mapping: Label as written -> class, or None (unknown).
        default: The class of photos that have nothing but empty cells.
        photos: What each row's photo is known by. A photo may have several rows, as one per head.
    """
    written = [as_text(cell) for cell in cells]
    labelled = {photo for photo, w in zip(photos, written, strict=True) if w is not None}
    return [
        (None if photo in labelled else default) if w is None else _mapped(w, mapping)
        for photo, w in zip(photos, written, strict=True)
    ]


def merge_rows(photos: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Merge the labels of all rows of a photo, head by head.

    Tables list a photo once per box, annotator or head, and two sources may share photos. Rows
    that contradict each other keep their labels, so that the contradiction is seen.

    Args:
        photos: One row per photo and mention; the same photo has the same `path`, however spelt.
        labels: Label columns.

    Returns:
        As many rows, in the same order.
    """
    places = photos["path"].map(os.path.abspath)
    several = photos[places.duplicated(keep=False)]
    if several.empty or not labels:
        return photos
    first = several.groupby(places)[list(labels)].transform("first")
    merged = photos.copy()
    merged.loc[several.index, list(labels)] = several[list(labels)].fillna(first)
    return merged


def split_column(
    cells: Iterable[Any], split_map: Mapping[str, Split | None], where: object
) -> list[str | None]:
    """Read the given splits off a column.

    Args:
        cells: One per row.
        split_map: Value as written -> split, or None (not given).
        where: The table, for messages.

    Raises:
        SourceError: Lists every value that does not name a split.
    """
    written = [as_text(cell) for cell in cells]
    splits = {w: split_map.get(w, split_of_value(w)) for w in written if w}
    unknown = Counter(w for w in written if w and splits[w] is None and w not in split_map)
    if unknown:
        of_each = [f"'{name}' ({counted(n, 'row')})" for name, n in unknown.most_common()]
        raise SourceError(
            f"The split column of {where} has {some(of_each)}.\n"
            f"Write one of {', '.join(WORDS)}, leave the cell empty, or map it under the source's"
            " split_map (null: not a split)."
        )
    return [splits[w] if w else None for w in written]


def as_text(value: Any) -> str | None:
    """Convert a cell of any table to normalized text; None where it is empty."""
    if isinstance(value, str):
        return normal(value) or None
    if isinstance(value, list | tuple | np.ndarray):
        # A list of attributes; an empty one means that none is there.
        return ";".join(normal(str(item)) for item in value) or "-"
    if value is None or pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def some(items: Iterable[str]) -> str:
    """The first few of a list, and how many more there are."""
    items = list(items)
    more = len(items) - LISTED
    return ", ".join(items[:LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _mapped(label: str, mapping: Mapping[str, str | None]) -> str | None:
    if label in mapping:
        return mapping[label]
    if ";" not in label or not mapping:
        return label
    items = (normal(item) for item in label.split(";"))
    kept = [mapping.get(item, item) for item in items if item]
    return ";".join(item for item in kept if item) or None
