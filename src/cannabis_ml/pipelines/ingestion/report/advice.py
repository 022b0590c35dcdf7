"""What a person should do about the photos, and whether to train on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from cannabis_ml.photo_sets.checks import conflicting_duplicate, twin_of_test
from cannabis_ml.photo_sets.checks.finding import listed
from cannabis_ml.photo_sets.checks.registry import DEFECTS, described
from cannabis_ml.photo_sets.link_report import LinkReport
from cannabis_ml.photos.decode import SUFFIXES
from cannabis_ml.text import counted

MANY_ASIDE = 0.2
"""Share of photos that cannot be used above which the set is not to be trusted as it is."""

FEW_ASIDE = 0.01
"""Share of photos with one kind of damage up to which it is a hint and no warning."""

_NOT_DAMAGED = {defect.name for defect in DEFECTS}
"""Set aside for what other photos show."""


def next_steps(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a person does next, the pressing first.

    Args:
        report: All of the report but this and the verdict.

    Returns:
        Steps of `severity` (alarm, warning, hint), `what` was found, `how` to mend it, and `see`:
        the section of the page that shows it.
    """
    steps = [
        *_steps_of_findings(report),
        *_steps_of_set_aside(report),
        *_steps_of_near_duplicates(report),
        *_steps_of_links(report),
        *_steps_of_splits(report),
        *_steps_of_flags(report),
    ]
    order = {"alarm": 0, "warning": 1, "hint": 2}
    return sorted(steps, key=lambda step: order[step["severity"]])


def _steps_of_findings(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for finding in report["findings"]:
        yield {
            "severity": finding["severity"],
            "what": finding["sentence"],
            "how": finding["advice"],
            "see": "shortcuts" if finding["check"] == "shortcuts" else "classes",
        }


def _steps_of_set_aside(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    totals = report["totals"]
    aside = [d | {"count": _photos_lost(d)} for d in report["defects"] if d["kind"] == "set_aside"]
    aside = [d for d in aside if d["count"]]
    photos = totals["kept"] + sum(d["count"] for d in aside)
    lost = sum(d["count"] for d in aside if d["name"] not in _NOT_DAMAGED)
    if lost > MANY_ASIDE * photos:
        yield {
            "severity": "alarm",
            "what": f"{lost:,} of {counted(photos, 'photo')} cannot be used.",
            "how": "Look whether the photos were copied whole before anything else.",
            "see": "set-aside",
        }
    by_advice: dict[str, list[dict[str, Any]]] = {}
    for defect in aside:
        by_advice.setdefault(described("set_aside", defect["name"]).advice, []).append(defect)
    for advice, defects in by_advice.items():
        if not advice:
            continue
        n = sum(d["count"] for d in defects)
        is_conflict = defects[0]["name"] == conflicting_duplicate.DEFECT.name
        named = ", ".join(f"{d['title'].lower()} {d['count']:,}" for d in defects)
        yield {
            "severity": "warning" if is_conflict or n > FEW_ASIDE * photos else "hint",
            "what": f"{defects[0]['title']}: {counted(n, 'photo')} set aside."
            if len(defects) == 1
            else f"{counted(n, 'photo')} set aside: {named}.",
            "how": f"{advice}, then run the ingestion pipeline again.",
            "see": "conflicts" if is_conflict else "set-aside",
        }


def _steps_of_near_duplicates(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    near = report["near_duplicates"]
    if near["two_labels"]:
        yield {
            "severity": "warning",
            "what": f"{counted(near['two_labels'], 'cluster')} of near-duplicates under different"
            " labels.",
            "how": "Look at them side by side and correct the label that is wrong.",
            "see": "near-duplicates",
        }


def _steps_of_flags(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    flags: dict[str, list[dict[str, Any]]] = {}
    for defect in report["defects"]:
        if defect["kind"] == "flagged":
            flags.setdefault(described("flagged", defect["name"]).advice, []).append(defect)
    for advice, defects in flags.items():
        named = listed(f"{d['title'].lower()} {d['count']:,}" for d in defects)
        yield {
            "severity": "hint",
            "what": f"Kept with a flag: {named}.",
            "how": f"{advice}.",
            "see": "flagged",
        }


def _photos_lost(defect: dict[str, Any]) -> int:
    """How many photos were set aside for it: files without a photo's suffix do not count."""
    if described("set_aside", defect["name"]).only_of_photos:
        return int(defect["count"])
    return sum(PurePath(photo["path"]).suffix.lower() in SUFFIXES for photo in defect["photos"])


def _steps_of_links(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
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
    if report["links"] is None:
        return
    links = LinkReport.model_validate(report["links"])
    for chain in links.chains:
        yield {
            "severity": "warning",
            "what": chain.sentence,
            "how": chain.advice,
            "see": "near-duplicates",
        }
    if links.across_splits:
        named = ", ".join(f"{n:,} in {name}" for name, n in links.photos_across.items())
        yield {
            "severity": "alarm",
            "what": f"{counted(links.across_splits, 'link')} across splits: pairs of"
            f" near-duplicates that are learnt from and judged by (photos: {named}).",
            "how": "Raise ingestion.groups.max_distance and max_difference to"
            f" {links.max_distance} and {links.max_difference:g} again, or look at the pairs"
            " and be sure that they show different plants.",
            "see": "near-duplicates" if report["near_duplicates"]["clusters"] else "classes",
        }


def _steps_of_splits(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Classes that a split lacks, where anything was divided at all."""
    in_use = [split for split, n in report["splits"].items() if n]
    listed_heads = {f["head"] for f in report["findings"] if f["check"] == "uneven_splits"}
    for head in report["heads"]:
        if head["name"] in listed_heads:  # with photos, groups, and how many to bring
            continue
        lacking = {
            c["name"]: [split for split in in_use if not c["splits"][split]]
            for c in head["classes"]
            if c["kept"]
        }
        named = [f"'{name}' ({', '.join(splits)})" for name, splits in lacking.items() if splits]
        if named:
            yield {
                "severity": "warning",
                "what": f"{counted(len(named), 'class is', 'classes are')} missing from a split of"
                f" '{head['name']}': {listed(named)}.",
                "how": "Bring photos of more plants of these: photos of one plant or burst share"
                " one split.",
                "see": "classes",
            }


def verdict(report: Mapping[str, Any]) -> dict[str, str]:
    """Whether to trust the photos: `level` (alarm, warning, good), `title` and `text`.

    Args:
        report: The report with its next steps, `to_do`.
    """
    alarms = sum(step["severity"] == "alarm" for step in report["to_do"])
    warnings = sum(step["severity"] == "warning" for step in report["to_do"])
    if not report["totals"]["kept"]:
        return {"level": "alarm", "title": "No photo can be used", "text": "See why below."}
    if alarms:
        return {
            "level": "alarm",
            "title": "Do not trust scores on these photos yet",
            "text": f"{counted(alarms, 'alarm')} and {counted(warnings, 'warning')}: settle the"
            f" alarm{'' if alarms == 1 else 's'} before you trust a score.",
        }
    if warnings:
        return {
            "level": "warning",
            "title": "Good to train on, with care",
            "text": f"No alarm, {counted(warnings, 'warning')}: read"
            f" {'it' if warnings == 1 else 'them'} before you read the scores.",
        }
    return {
        "level": "good",
        "title": "Good to train on",
        "text": "Every check passed without an alarm or a warning.",
    }
