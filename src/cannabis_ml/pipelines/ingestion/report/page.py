"""The report as one HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import numpy as np

from cannabis_ml._io.file_names import printable
from cannabis_ml.photo_sets.checks import conflicting_duplicate
from cannabis_ml.pipelines.ingestion.report.thumbnails import EXAMPLES, MEMBERS
from cannabis_ml.splits import SPLITS

CLASSES = 150
"""Rows of a head's table; larger taxonomies are cut, the JSON has all."""


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
        """The caption of a photo, without what its section's heading holds already."""
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
    template = resources.files(__package__).joinpath("page.html.j2").read_text("utf-8")
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
    conflict = conflicting_duplicate.DEFECT.name  # has a section of its own
    return [d for d in defects if d["kind"] == kind and d["name"] != conflict]


def _parts(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    """The bar under the totals: every photo in exactly one part."""
    both = totals["repaired_and_flagged"]
    named = [
        ("plain", "kept as they are", totals["plain"]),
        ("repaired", "repaired only" if both else "repaired", totals["repaired"] - both),
        ("flagged", "flagged", totals["flagged"]),
        ("aside", "set aside", totals["set_aside"]),
    ]
    photos = max(1, totals["found"])
    return [{"part": p, "title": t, "n": n, "share": n / photos} for p, t, n in named if n]


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
    """Round so that a share above zero never reads 0% and an incomplete one never 100%."""
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
