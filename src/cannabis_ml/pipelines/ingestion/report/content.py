"""The numbers of the report, and the photos behind them, as plain JSON values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.photo_sets.checks import conflicting_duplicate, exact_duplicate, twin_of_test
from cannabis_ml.photo_sets.checks.finding import class_counts
from cannabis_ml.photo_sets.checks.registry import SetFindings, described
from cannabis_ml.photo_sets.checks.shortcuts import as_numbers
from cannabis_ml.photo_sets.link_report import LinkReport
from cannabis_ml.photos.checks.check import Kind
from cannabis_ml.pipelines.ingestion.report.advice import next_steps, verdict
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy import Head, Taxonomy

SCHEMA = "cannabis_ml/ingestion-report"
VERSION = 1
"""Raised when a field is renamed, removed or changes its meaning; not when one is added."""

_CONFLICT, _TWIN = conflicting_duplicate.DEFECT.name, twin_of_test.DEFECT.name
_COPIES = {exact_duplicate.DEFECT.name, _CONFLICT}


def build_report(
    photo_index: pd.DataFrame,
    taxonomy: Taxonomy,
    checked: SetFindings | None = None,
    wanted: Mapping[str, float] | None = None,
    links: LinkReport | None = None,
) -> dict[str, Any]:
    """Account for every photo.

    What adds up, in `totals`: found = kept + set_aside, and kept = plain + repaired + flagged -
    repaired_and_flagged. Per source and per split the same counts add up to the totals.

    Args:
        photo_index: One row per photo found, with `path`, `defect`, and what else is known of it;
            columns that are not there count as empty.
        taxonomy: The heads whose classes are counted.
        checked: What the checks of the set as a whole found; None: they did not run.
        wanted: Fractions of the splits as configured, to stand beside those reached.
        links: Near-duplicates across splits, as from `groups.check_links`.

    Returns:
        Plain JSON values: `schema`, `version`, `totals`, `sources`, `splits`, `heads`, `defects`,
        `near_duplicates`, `links`, `shared_groups`, `conflicts`, `findings`, `shortcuts`,
        `shortcuts_unchecked`, `verdict` and `to_do`.
    """
    index = _completed(photo_index, taxonomy)
    sound = index[index["defect"].isna()]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "totals": _totals(index),
        "sources": {
            name: {"root": _common_root(rows["path"]), **_totals(rows)}
            for name, rows in index.groupby("source", sort=False)
        },
        "splits": {name: int((sound["split"] == name).sum()) for name in SPLITS},
        "wanted_splits": dict(wanted) if wanted else None,
        "heads": [_head(head, index, sound, taxonomy) for head in taxonomy.heads],
        "defects": _defects(index),
        "near_duplicates": _near_duplicates(index, taxonomy),
        "links": None if links is None else links.model_dump(),
        "shared_groups": {
            name: {"shared": n, "given": of} for name, (n, of) in _shared(index).items()
        },
        "conflicts": _conflicts(index),
        "findings": [finding.as_dict() for finding in checked.findings] if checked else [],
        "shortcuts": [as_numbers(one) for one in checked.measured] if checked else [],
        "shortcuts_unchecked": [dict(one) for one in checked.unchecked] if checked else [],
    }
    report["to_do"] = next_steps(report)
    report["verdict"] = verdict(report)
    return report


def _completed(photo_index: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """The index with every column that is read below, its labels also as one text per photo."""
    index = photo_index.reset_index(drop=True).copy()
    texts = ("defect", "detail", "repairs", "flags", "split", "given_split", "duplicate_of")
    for name in (*texts, "group", "cluster", "bytes", "photo_id", *taxonomy.columns):
        if name not in index:
            index[name] = None
    if "source" not in index:
        index["source"] = "photos"
    index["source"] = index["source"].fillna("photos")
    for name in ("repairs", "flags"):
        index[name] = [
            tuple(part for part in str(value).split(";") if part) if pd.notna(value) else ()
            for value in index[name]
        ]
    index["label_text"] = _label_texts(index, taxonomy)
    return index


def _label_texts(index: pd.DataFrame, taxonomy: Taxonomy) -> list[str]:
    """`tomato, leaf blight, mould`: what is known of each photo, in head order."""
    parts: list[list[str]] = [[] for _ in range(len(index))]
    for head in taxonomy.heads:
        for column in head.columns:
            if head.kind == "multilabel":
                name = column.removeprefix(f"{head.name}.")
                for i in np.flatnonzero((index[column] == 1).fillna(False).to_numpy(bool)):
                    parts[i].append(name)
            else:
                for part, value in zip(parts, index[column], strict=True):
                    if pd.notna(value):
                        part.append(str(value))
    return [", ".join(part) for part in parts]


def _common_root(paths: pd.Series) -> str:
    """The folder that all paths share, with the separator at its end; empty where none."""
    folders = {str(path).rpartition("/")[0] for path in paths}
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones, or several drives
        return ""
    return f"{shared}/" if shared and shared != "/" else shared


def _totals(rows: pd.DataFrame) -> dict[str, int]:
    sound = rows[rows["defect"].isna()]
    repaired, flagged = sound["repairs"].map(bool), sound["flags"].map(bool)
    return {
        "found": len(rows),
        "kept": len(sound),
        "set_aside": len(rows) - len(sound),
        "plain": int((~(repaired | flagged)).sum()) if len(sound) else 0,
        "repaired": int(repaired.sum()),
        "flagged": int(flagged.sum()),
        "repaired_and_flagged": int((repaired & flagged).sum()) if len(sound) else 0,
        "bytes": int(pd.to_numeric(rows["bytes"]).fillna(0).sum()),
    }


def _head(
    head: Head, index: pd.DataFrame, sound: pd.DataFrame, taxonomy: Taxonomy
) -> dict[str, Any]:
    """Photos of each class: found, kept, per split (count and share) and per source."""
    in_index = class_counts(index, taxonomy)[head.name]
    kept = class_counts(sound, taxonomy)[head.name]
    by_split = {
        name: class_counts(rows, taxonomy)[head.name]
        for name, rows in ((s, sound[sound["split"] == s]) for s in SPLITS)
    }
    by_source = {
        name: class_counts(rows, taxonomy)[head.name]
        for name, rows in sound.groupby("source", sort=False)
    }
    unlabelled = sound[sound[head.columns].isna().all(axis=1)]
    classes = []
    for name in head.class_names:
        splits = {split: counts[name] for split, counts in by_split.items()}
        divided = sum(splits.values())
        classes.append(
            {
                "name": name,
                "found": in_index[name],
                "kept": kept[name],
                "splits": splits,
                "fractions": {
                    s: round(n / divided, 4) if divided else 0 for s, n in splits.items()
                },
                "sources": {source: counts[name] for source, counts in by_source.items()},
            }
        )
    return {
        "name": head.name,
        "kind": head.kind,
        "labelled": len(sound) - len(unlabelled),
        "unlabelled": len(unlabelled),
        "classes": classes,
    }


def _defects(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Every defect with all its photos: set aside, repaired, flagged; the most frequent first."""
    aside = index[index["defect"].notna()]
    sound = index[index["defect"].isna()]
    entries = [_defect(str(n), "set_aside", rows) for n, rows in aside.groupby("defect")]
    columns: dict[Kind, str] = {"repaired": "repairs", "flagged": "flags"}
    for kind, column in columns.items():
        noted = sound[["path", "detail", "source", "duplicate_of", "label_text", column]].explode(
            column
        )
        entries += [_defect(str(n), kind, rows) for n, rows in noted.groupby(column)]
    order = ["set_aside", "repaired", "flagged"]
    return sorted(entries, key=lambda e: (order.index(e["kind"]), -e["count"], e["name"]))


def _defect(name: str, kind: Kind, rows: pd.DataFrame) -> dict[str, Any]:
    known = described(kind, name)
    fields = ["path", "source", "label_text", "detail", "duplicate_of"]
    return {
        "name": name,
        "kind": kind,
        "title": known.title,
        "about": known.about,
        "count": len(rows),
        "photos": _records(rows.sort_values("path")[fields]),
    }


def _near_duplicates(index: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Any]:
    """Clusters of nearly equal photos: those with two labels first, then the large ones.

    Photos that were taken out for being near-duplicates are members still: they are the evidence.
    """
    members = index[index["cluster"].notna() & ~index["defect"].isin(_COPIES)]
    members = members[members.duplicated("cluster", keep=False)].sort_values(["cluster", "path"])
    fields = ["path", "source", "label_text"]
    several = members.groupby("cluster")[taxonomy.columns].nunique().gt(1).any(axis=1)
    clusters: list[dict[str, Any]] = [
        {
            "number": number,
            "size": len(photos),
            "labels": sorted({p["label"] for p in photos if "label" in p}),
            "two_labels": bool(several[number]),
            "given_splits": sorted({p["given_split"] for p in photos if "given_split" in p}),
            "photos": photos,
        }
        for number, photos in _grouped(
            members, "cluster", [*fields, "given_split", "split", "defect"]
        )
    ]
    clusters.sort(
        key=lambda c: (not c["two_labels"], len(c["given_splits"]) < 2, -c["size"], c["number"])
    )
    return {
        "clusters": len(clusters),
        "photos": sum(c["size"] for c in clusters),
        "two_labels": sum(c["two_labels"] for c in clusters),
        "across_given_splits": sum(len(c["given_splits"]) > 1 for c in clusters),
        "list": clusters,
    }


def _shared(index: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Per given split, photos that share a group with held-out ones, and all."""
    members = index[index["defect"].isna() | index["defect"].eq(_TWIN)]
    return twin_of_test.shared(members.dropna(subset="group"))


def _conflicts(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Files that are there under different labels, the most frequent first."""
    rows = index[index["defect"] == _CONFLICT]
    fields = ["path", "source", "label_text"]
    groups = [
        {
            "photo_id": photo_id,
            "labels": sorted({p.get("label", "(none)") for p in photos}),
            "photos": photos,
        }
        for photo_id, photos in _grouped(rows.sort_values("path"), "photo_id", fields)
    ]
    return sorted(groups, key=lambda g: (-len(g["photos"]), g["photo_id"]))


def _grouped(
    rows: pd.DataFrame, by: str, fields: list[str]
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Records by the value of a column: what groupby gives, fast for many small groups."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for value, record in zip(rows[by].tolist(), _records(rows[fields]), strict=True):
        groups.setdefault(value, []).append(record)
    yield from groups.items()


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    rows = rows.rename(columns={"label_text": "label"})
    plain = rows.astype(object).where(rows.notna(), None)
    return [
        {str(name): value for name, value in record.items() if value not in (None, "")}
        for record in plain.to_dict("records")
    ]
