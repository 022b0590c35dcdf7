"""What became of every photo: one JSON document for machines, one HTML page for people.

`build_report` accounts for every row of the photo index, `thumbnails` draws the few photos that the
page shows, `render_page` writes the page. The page stands alone: no script, no font, no picture is
fetched from anywhere, so that it can be mailed, archived and opened in ten years.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from cannabis_ml._io.file_names import on_disk, printable
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.photo_sets.checks import conflicting_duplicate, exact_duplicate, twin_of_test
from cannabis_ml.photo_sets.checks.finding import Finding, class_counts, listed, photos_of
from cannabis_ml.photo_sets.checks.registry import DEFECTS
from cannabis_ml.photos.checks import CHECKS
from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.photos.decode import SUFFIXES, UnreadableError, decode
from cannabis_ml.pipelines.ingestion.groups import chain_advice, chain_sentence
from cannabis_ml.pipelines.ingestion.params import SPLITS
from cannabis_ml.taxonomy import Head, Taxonomy

SCHEMA = "cannabis_ml/ingestion-report"
VERSION = 1
"""Raised when a field is renamed, removed or changes its meaning; not when one is added."""

EXAMPLES = 12
"""Photos shown per defect, and clusters and conflicts shown; the JSON lists all."""

MEMBERS = 6
"""Photos shown per cluster."""

MAX_THUMBNAILS = 200

CLASSES = 150
"""Rows of a head's table; larger taxonomies are cut, the JSON has all."""

MANY_ASIDE = 0.2
"""Share of photos that cannot be used above which the set is not to be trusted as it is."""

FEW_ASIDE = 0.01
"""Share of photos with one kind of damage up to which it is a hint and no warning."""


_KNOWN: dict[tuple[str, str], Defect] = {
    (defect.kind, defect.name): defect for defect in (*CHECKS, *DEFECTS)
}
CONFLICT = conflicting_duplicate.DEFECT.name

_COPIES = {exact_duplicate.DEFECT.name, CONFLICT}

_NOT_DAMAGED = {defect.name for defect in DEFECTS}
"""Set aside for what other photos show."""

_LOOK = "Glance at the examples"


# ------------------------------------------------------------------ the report


def build_report(
    photo_index: pd.DataFrame,
    taxonomy: Taxonomy,
    findings: Sequence[Finding] = (),
    measured: Sequence[Mapping[str, Any]] = (),
    wanted: Mapping[str, float] | None = None,
    links: Mapping[str, Any] | None = None,
    unchecked: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Account for every photo.

    What adds up, in `totals`: found = kept + set_aside, and kept = plain + repaired + flagged -
    repaired_and_flagged. Per source and per split the same counts add up to the totals.

    Args:
        photo_index: One row per photo found, with `path`, `defect`, and what else is known of it;
            columns that are not there count as empty.
        taxonomy: The heads whose classes are counted.
        findings: What the checks of the set as a whole say.
        measured: What was measured for shortcuts, remarkable or not (`shortcuts.as_numbers`).
        wanted: Fractions of the splits as configured, to stand beside those reached.
        links: What the search for near-duplicates across splits says (`groups.check_links`).
        unchecked: Classes of too few groups to look for shortcuts (`few_groups.unchecked`).

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
        "links": dict(links) if links else None,
        "shared_groups": {
            name: {"shared": n, "given": of} for name, (n, of) in _shared(index).items()
        },
        "conflicts": _conflicts(index),
        "findings": [finding.as_dict() for finding in findings],
        "shortcuts": [dict(one) for one in measured],
        "shortcuts_unchecked": [dict(one) for one in unchecked],
    }
    report["to_do"] = list(_to_do(report))
    report["verdict"] = _verdict(report)
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
    found = class_counts(index, taxonomy)[head.name]
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
                "found": found[name],
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
    for kind, column in (("repaired", "repairs"), ("flagged", "flags")):
        noted = sound[["path", "detail", "source", "duplicate_of", "label_text", column]].explode(
            column
        )
        entries += [_defect(str(n), kind, rows) for n, rows in noted.groupby(column)]
    order = ["set_aside", "repaired", "flagged"]
    return sorted(entries, key=lambda e: (order.index(e["kind"]), -e["count"], e["name"]))


def _defect(name: str, kind: str, rows: pd.DataFrame) -> dict[str, Any]:
    known = _KNOWN.get((kind, name))
    fields = ["path", "source", "label_text", "detail", "duplicate_of"]
    return {
        "name": name,
        "kind": kind,
        "title": known.title if known else name.replace("_", " ").capitalize(),
        "about": known.about if known else "",
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
    members = index[index["defect"].isna() | index["defect"].eq(twin_of_test.DEFECT.name)]
    return twin_of_test.shared(members.dropna(subset="group"))


def _conflicts(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Files that are there under different labels, the most frequent first."""
    rows = index[index["defect"] == CONFLICT]
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


# ------------------------------------------------------------------ what to do


def _to_do(report: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Plain next steps, the pressing ones first; `see` names a section of the page."""
    steps = [*_steps_of_findings(report), *_steps_of_photos(report)]
    order = {"alarm": 0, "warning": 1, "hint": 2}
    yield from sorted(steps, key=lambda step: order[step["severity"]])


def _steps_of_findings(report: dict[str, Any]) -> Iterator[dict[str, str]]:
    for finding in report["findings"]:
        yield {
            "severity": finding["severity"],
            "what": finding["sentence"],
            "how": finding["advice"],
            "see": "shortcuts" if finding["check"] == "shortcuts" else "classes",
        }


def _steps_of_photos(report: dict[str, Any]) -> Iterator[dict[str, str]]:
    totals = report["totals"]
    aside = [d | {"count": _photos_lost(d)} for d in report["defects"] if d["kind"] == "set_aside"]
    aside = [d for d in aside if d["count"]]
    found = totals["kept"] + sum(d["count"] for d in aside)
    lost = sum(d["count"] for d in aside if d["name"] not in _NOT_DAMAGED)
    if lost > MANY_ASIDE * found:
        yield {
            "severity": "alarm",
            "what": f"{lost:,} of {photos_of(found)} cannot be used.",
            "how": "Look whether the photos were copied whole before anything else.",
            "see": "set-aside",
        }
    by_advice: dict[str, list[dict[str, Any]]] = {}
    for defect in aside:
        by_advice.setdefault(_advice(defect, ""), []).append(defect)
    for advice, defects in by_advice.items():
        if not advice:
            continue
        n = sum(d["count"] for d in defects)
        is_conflict = defects[0]["name"] == CONFLICT
        told = ", ".join(f"{d['title'].lower()} {d['count']:,}" for d in defects)
        yield {
            "severity": "warning" if is_conflict or n > FEW_ASIDE * found else "hint",
            "what": f"{defects[0]['title']}: {photos_of(n)} set aside."
            if len(defects) == 1
            else f"{photos_of(n)} set aside: {told}.",
            "how": f"{advice}, then run the ingestion pipeline again.",
            "see": "conflicts" if is_conflict else "set-aside",
        }
    near = report["near_duplicates"]
    if near["two_labels"]:
        yield {
            "severity": "warning",
            "what": f"{_count(near['two_labels'], 'cluster')} of near-duplicates under different"
            " labels.",
            "how": "Look at them side by side and correct the label that is wrong.",
            "see": "near-duplicates",
        }
    yield from _steps_of_links(report)
    yield from _steps_of_splits(report)
    flags: dict[str, list[dict[str, Any]]] = {}
    for defect in report["defects"]:
        if defect["kind"] == "flagged":
            flags.setdefault(_advice(defect, _LOOK), []).append(defect)
    for advice, defects in flags.items():
        told = listed(f"{d['title'].lower()} {d['count']:,}" for d in defects)
        yield {
            "severity": "hint",
            "what": f"Kept with a flag: {told}.",
            "how": f"{advice}.",
            "see": "flagged",
        }


def _advice(defect: Mapping[str, Any], default: str) -> str:
    known = _KNOWN.get((defect["kind"], defect["name"]))
    return known.advice if known else default


def _photos_lost(defect: dict[str, Any]) -> int:
    """How many photos were set aside for it: files that nobody would call photos are no loss."""
    known = _KNOWN.get((defect["kind"], defect["name"]))
    if known is None or known.only_of_photos:
        return int(defect["count"])
    return sum(PurePath(photo["path"]).suffix.lower() in SUFFIXES for photo in defect["photos"])


def _steps_of_links(report: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What of one group the source gave to several splits, and what near-duplicates were cut."""
    shared = {name: (n["shared"], n["given"]) for name, n in report["shared_groups"].items()}
    if shared:
        most = max(n / of for n, of in shared.values())
        severity = "warning" if most > FEW_ASIDE else "hint"
        yield {
            "severity": "alarm" if most > MANY_ASIDE else severity,
            "what": twin_of_test.shared_sentence(shared),
            "how": twin_of_test.REMEDY,
            "see": "near-duplicates" if report["near_duplicates"]["clusters"] else "set-aside",
        }
    links = report["links"] or {}
    for chain in links.get("chains", []):
        yield {
            "severity": "warning",
            "what": chain_sentence(chain),
            "how": chain_advice(chain),
            "see": "near-duplicates",
        }
    if links.get("across_splits"):
        told = ", ".join(f"{n:,} in {name}" for name, n in links["photos_across"].items())
        yield {
            "severity": "alarm",
            "what": f"{_count(links['across_splits'], 'link')} across splits: pairs of"
            f" near-duplicates that are learnt from and judged by (photos: {told}).",
            "how": "Raise ingestion.groups.max_distance and max_difference to"
            f" {links['max_distance']} and {links['max_difference']:g} again, or look at the pairs"
            " and be sure that they show different plants.",
            "see": "near-duplicates" if report["near_duplicates"]["clusters"] else "classes",
        }


def _steps_of_splits(report: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Classes that a split lacks, where anything was divided at all."""
    in_use = [split for split, n in report["splits"].items() if n]
    told_of = {f["head"] for f in report["findings"] if f["check"] == "uneven_splits"}
    for head in report["heads"]:
        if head["name"] in told_of:  # with photos, groups, and how many to bring
            continue
        lacking = {
            c["name"]: [split for split in in_use if not c["splits"][split]]
            for c in head["classes"]
            if c["kept"]
        }
        told = [f"'{name}' ({', '.join(splits)})" for name, splits in lacking.items() if splits]
        if told:
            yield {
                "severity": "warning",
                "what": f"{_count(len(told), 'class is', 'classes are')} missing from a split of"
                f" '{head['name']}': {listed(told)}.",
                "how": "Bring photos of more plants of these: photos of one plant or burst share"
                " one split.",
                "see": "classes",
            }


def _verdict(report: dict[str, Any]) -> dict[str, str]:
    alarms = sum(step["severity"] == "alarm" for step in report["to_do"])
    warnings = sum(step["severity"] == "warning" for step in report["to_do"])
    if not report["totals"]["kept"]:
        return {"level": "alarm", "title": "No photo can be used", "text": "See why below."}
    if alarms:
        return {
            "level": "alarm",
            "title": "Do not trust scores on these photos yet",
            "text": f"{_count(alarms, 'alarm')} and {_count(warnings, 'warning')}: settle the"
            f" alarm{'' if alarms == 1 else 's'} before you believe a score.",
        }
    if warnings:
        return {
            "level": "warning",
            "title": "Good to train on, with care",
            "text": f"No alarm, {_count(warnings, 'warning')}: read"
            f" {'it' if warnings == 1 else 'them'} before you read the scores.",
        }
    return {
        "level": "good",
        "title": "Good to train on",
        "text": "Every check passed without an alarm or a warning.",
    }


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


# ------------------------------------------------------------------ thumbnails


def thumbnails(
    report: Mapping[str, Any],
    photo_index: pd.DataFrame,
    size: int = 96,
    workers: int | None = None,
) -> dict[str, str]:
    """Draw the photos that the page shows, and no others.

    Args:
        report: As `build_report` returns it.
        photo_index: Which of these have a `defect`.
        size: Longer side in pixels.
        workers: Threads; None takes one per core.

    Returns:
        A data URI per path: a JPEG, or a drawn placeholder that names the defect where the file
        gives no photo. At most `MAX_THUMBNAILS`.
    """
    defects = dict(zip(photo_index["path"], photo_index["defect"], strict=True))
    paths = list(dict.fromkeys(_shown(report)))[:MAX_THUMBNAILS]

    def draw(path: str) -> str:
        try:
            return _jpeg_uri(on_disk(path).read_bytes(), size)
        except UnreadableError as error:
            return _placeholder_uri(error.defect, size)
        except (OSError, ValueError):
            known = defects.get(path)
            return _placeholder_uri(known if isinstance(known, str) else "missing", size)

    return dict(zip(paths, map_in_order(draw, paths, workers), strict=True))


def _shown(report: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the photos on the page, those that matter most first: some may have to go."""
    for conflict in report["conflicts"][:EXAMPLES]:
        yield conflict["photos"][0]["path"]
    clusters = report["near_duplicates"]["list"][:EXAMPLES]
    yield from (p["path"] for c in clusters for p in c["photos"][:MEMBERS] if c["two_labels"])
    # In turns, so that the last defect gets as many as the first.
    defects = [d["photos"] for d in report["defects"] if d["name"] != CONFLICT]
    for nth in range(EXAMPLES):
        yield from (photos[nth]["path"] for photos in defects if nth < len(photos))
    yield from (p["path"] for c in clusters for p in c["photos"][:MEMBERS])


def _jpeg_uri(data: bytes, size: int) -> str:
    import cv2
    from PIL import Image

    pixels = decode(data, reduce_to=2 * size)
    scale = size / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=78, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _placeholder_uri(defect: str, size: int) -> str:
    words = str(defect).replace("_", " ")[:24].split(" ")
    letters = size / max(6.5, 0.62 * max(map(len, words)) + 1)
    middle = size / 2 + letters * (0.35 - 0.6 * (len(words) - 1))
    lines = "".join(
        f'<text x="{size / 2:.0f}" y="{middle + i * 1.2 * letters:.1f}">{_escaped(word)}</text>'
        for i, word in enumerate(words)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}">'
        f'<rect width="100%" height="100%" fill="#e9e4dc"/>'
        f'<path d="M0 0L{size} {size}M{size} 0L0 {size}" stroke="#d9d2c6"/>'
        f'<g font-family="sans-serif" font-size="{letters:.1f}" text-anchor="middle"'
        f' fill="#6b6257">{lines}</g></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


# ------------------------------------------------------------------ the page


def render_page(report: Mapping[str, Any], thumbnails: Mapping[str, str] | None = None) -> str:
    """Write the page that a person opens.

    Args:
        report: As `build_report` returns it.
        thumbnails: A data URI per path; photos without one are listed by name alone.

    Returns:
        A whole HTML document that refers to nothing outside itself.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    roots = {name: source["root"] for name, source in report["sources"].items()}

    def short(photo: Mapping[str, Any]) -> Any:
        return _breakable(photo["path"].removeprefix(roots[photo["source"]]))

    def noted(photo: Mapping[str, Any], about: str) -> str:
        """What is said under a photo, but for what stands above it already."""
        if "duplicate_of" in photo:
            return f"same as {photo['duplicate_of'].removeprefix(roots[photo['source']])}"
        detail = photo.get("detail", "")
        return "" if detail == about else detail

    environment.filters |= {
        "count": lambda n: f"{n:,}",
        "percent": _percent,
        "visible": _visible,
        "short": short,
        "noted": noted,
        "breakable": _breakable,
        "megabytes": lambda n: f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB",
    }
    template = resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    page = environment.from_string(template).render(
        r=report,
        thumbnails=thumbnails or {},
        splits=SPLITS,
        examples=EXAMPLES,
        members=MEMBERS,
        heads=[_head_for_page(head) for head in report["heads"]],
        guesses=_guesses(report["shortcuts"]),
        parts=_parts(report["totals"]),
        defects={kind: _of_kind(report["defects"], kind) for kind in _KINDS},
        kinds=_KINDS,
        largest_bar=_largest_bar,
    )
    return page.lstrip()  # what precedes the template's first line is macros


_KINDS = {
    "set_aside": ("set-aside", "Set aside", "Not used for anything. Nothing was deleted."),
    "repaired": ("repaired", "Repaired", "Kept; brought to plain, upright RGB while reading."),
    "flagged": ("flagged", "Flagged", "Kept as they are; worth a glance."),
}


def _of_kind(defects: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [d for d in defects if d["kind"] == kind and d["name"] != CONFLICT]


def _parts(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    """The bar under the totals: every photo in exactly one part."""
    both = totals["repaired_and_flagged"]
    named = [
        ("plain", "kept as they are", totals["plain"]),
        ("repaired", "repaired only" if both else "repaired", totals["repaired"] - both),
        ("flagged", "flagged", totals["flagged"]),
        ("aside", "set aside", totals["set_aside"]),
    ]
    found = max(1, totals["found"])
    return [{"part": p, "title": t, "n": n, "share": n / found} for p, t, n in named if n]


def _head_for_page(head: Mapping[str, Any]) -> dict[str, Any]:
    """The classes in the order of the page: by count, but an ordinal head best first."""
    classes = list(head["classes"])
    if head["kind"] != "ordinal":
        classes.sort(key=lambda c: -c["kept"])
    return {**head, "classes": classes[:CLASSES], "more": len(classes[CLASSES:])}


def _largest_bar(head: Mapping[str, Any]) -> int:
    return max((c["kept"] for c in head["classes"]), default=0) or 1


def _guesses(measured: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per question: chance, and what file and border make of it."""
    rows: dict[str, dict[str, Any]] = {}
    for one in measured:
        known = {name: one[name] for name in ("question", "chance", "photos")}
        rows.setdefault(one["question"], known)[one["kind"]] = one["accuracy"]
    return list(rows.values())


def _percent(share: float) -> str:
    """Never 0% of something, never 100% of not all."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return f"{np.floor(share * 1000) / 10:.1f}%"
    return f"{share:.0%}"


def _visible(text: Any) -> str:
    """Control characters as symbols, and what UTF-8 cannot hold with backslashes."""
    shown = "".join(chr(0x2400 + ord(c)) if ord(c) < 0x20 else c for c in str(text))
    return printable(shown)


def _breakable(text: Any) -> Any:
    """Names that may break after a slash, a dot or an underscore, and not within a word."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_.\-]+)", r"\1<wbr>", str(escape(_visible(text)))))
