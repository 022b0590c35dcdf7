"""From labels as a source wrote them to the label columns of the taxonomy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pandas as pd

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.label_checks import check_labels, photo_count
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.taxonomy_spec import normal_labels
from cannabis_ml.text import did_you_mean, normal

NONE_OF_THEM = ("-", "none")
"""What stands in a list of attributes when none is there."""

# pandas writes whole numbers beside empty cells as 1.0.
_YES = ("1", "1.0", "true", "yes")
_NO = ("0", "0.0", "false", "no")


def unify_labels(source_photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Convert labels to the columns and types of the taxonomy.

    Args:
        source_photos: Labels as text: a column per head, or `head.attribute` columns for a
            multilabel head. Heads may be absent. With a column `source`, errors name the sources.
        taxonomy: The heads wanted.

    Returns:
        The columns of `taxonomy` alone: text per multiclass and ordinal head, Int8 per attribute;
        missing where unknown. Same rows, same index.

    Raises:
        TaxonomyError: Lists every label that the taxonomy does not know, with its count and the
            nearest class.
    """
    faults: list[str] = []
    columns: dict[str, pd.Series] = {}
    for head in taxonomy.heads:
        if head.kind == "multilabel":
            columns |= _attributes(head, source_photos, faults)
        elif head.name in source_photos:
            columns[head.name] = normal_labels(source_photos[head.name]).astype("str")
        else:
            columns[head.name] = pd.Series(None, index=source_photos.index, dtype="str")
    labels = pd.DataFrame(columns, index=source_photos.index)
    try:
        check_labels(labels, taxonomy, _where(source_photos), source_photos.get("source"))
    except TaxonomyError as error:
        if not faults:
            raise
        raise TaxonomyError(f"{error}\n{_attribute_error(faults)}") from None
    if faults:
        raise TaxonomyError(_attribute_error(faults))
    return labels


def _where(photos: pd.DataFrame) -> str:
    names = sorted(photos["source"].unique()) if "source" in photos else []
    if not names:
        return "the source"
    return f"the source{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _attributes(head: Head, photos: pd.DataFrame, faults: list[str]) -> dict[str, pd.Series]:
    columns = {name: pd.Series(pd.NA, index=photos.index, dtype="Int8") for name in head.columns}
    if head.name in photos:
        columns |= _from_lists(head, _united(head.name, photos), faults, photos.get("source"))
    prefix = f"{head.name}."
    for name in [c for c in photos.columns if str(c).startswith(prefix)]:
        if name not in columns:
            attribute = name.removeprefix(prefix)
            near = did_you_mean(attribute, head.class_names)
            labelled = photo_count(photos.index[photos[name].notna()], photos.get("source"))
            faults.append(f"{head.name}: '{attribute}' (column '{name}', {labelled}{near})")
            continue
        given = _from_marks(name, photos[name], faults, photos.get("source"))
        columns[name] = given.fillna(columns[name])
    return columns


def _united(name: str, photos: pd.DataFrame) -> pd.Series:
    """The lists of attributes, of a table with a row per box one list for all boxes of a photo.

    Such rows name one attribute each. Lists of several, and one of `NONE_OF_THEM`, are for the
    whole photo: they stay as they are, and contradict others that differ.
    """
    lists = photos[name]
    if not {"path", "source"} <= set(photos.columns):
        return lists
    named = lists.dropna()
    keys = list(
        zip(photos.loc[named.index, "path"], photos.loc[named.index, "source"], strict=True)
    )
    apart = {cell: frozenset(_items(cell)) for cell in named.unique()}
    boxes: dict[tuple[str, str], set[str]] = defaultdict(set)
    whole = set()
    for key, cell in zip(keys, named, strict=True):
        boxes[key] |= apart[cell]
        if len(apart[cell]) != 1:
            whole.add(key)
    united = [
        cell if key in whole else ";".join(sorted(boxes[key]))
        for key, cell in zip(keys, named, strict=True)
    ]
    return pd.Series(united, index=named.index, dtype="str").reindex(lists.index)


def _from_lists(
    head: Head, cells: pd.Series, faults: list[str], sources: pd.Series | None
) -> dict[str, pd.Series]:
    """Expand `mould;stems`: what is named is there, what is not named is not."""
    known = cells.notna()
    # As few distinct cells as combinations: taken apart once each.
    apart = {cell: frozenset(_items(cell)) for cell in cells[known].unique()}
    unknown = sorted({item for items in apart.values() for item in items} - set(head.class_names))
    places = []
    for item in unknown:
        cells_with = [cell for cell, items in apart.items() if item in items]
        places.append((cells.index[cells.isin(cells_with)], item))
    faults += [
        f"{head.name}: '{item}' ({photo_count(rows, sources)}"
        f"{did_you_mean(item, head.class_names)})"
        for rows, item in sorted(places, key=lambda pair: -len(pair[0]))
    ]
    columns = {}
    for name, column in zip(head.class_names, head.columns, strict=True):
        is_there = cells.map({cell: int(name in items) for cell, items in apart.items()})
        columns[column] = is_there.astype("Int8")
    return columns


def _items(cell: str) -> Iterator[str]:
    if cell.strip().casefold() in NONE_OF_THEM:
        return
    for item in cell.split(";"):
        if normal(item):
            yield normal(item)


def _from_marks(
    name: str, cells: pd.Series, faults: list[str], sources: pd.Series | None
) -> pd.Series:
    """Read 1/0, true/false, yes/no."""
    folded = cells.dropna().astype("str").str.strip().str.casefold()
    marks = folded.map(dict.fromkeys(_YES, 1) | dict.fromkeys(_NO, 0))
    wrong = cells[marks[marks.isna()].index]
    faults += [
        f"{name}: '{cell}' ({photo_count(wrong.index[wrong == cell], sources)}; write 1, 0 or"
        " nothing)"
        for cell in wrong.value_counts().index
    ]
    return marks.reindex(cells.index).astype("Int8")


def _attribute_error(faults: list[str]) -> str:
    title = f"{len(faults):,} attribute label{' is' if len(faults) == 1 else 's are'} not known:"
    return "\n  ".join([title, *faults]) + (
        "\nMap them under the source's label_map or add them to parameters_taxonomy.yml."
    )
