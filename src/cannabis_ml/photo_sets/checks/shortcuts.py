"""Shortcut learning: labels that file properties or the background predict.

When one class was photographed with another phone, cropped by another hand or saved by another
program, a network finds that out sooner than it finds out about leaves: scores on the test split
are splendid, since the same shortcut is there, and nothing is left of them in the field. Eight
pixels of background name the class of 49% of PlantVillage's photos, of 38 classes (Noyan 2022,
"Uncovering bias in the PlantVillage dataset", arXiv 2206.04374).

So a small model is asked to name each label from properties of the file alone, and from the mean
colour of the border alone. It is judged on groups of photos that it did not see. What it can do,
a network can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.photo_sets.checks.finding import Finding, listed
from cannabis_ml.photo_sets.file_properties import PROPERTIES
from cannabis_ml.photo_sets.predictability import (
    TOGETHER,
    OneVsRest,
    Predictability,
    ShortcutsParams,
    measure,
)
from cannabis_ml.taxonomy import Taxonomy

_NEAR = 0.7
"""Share of `min_gain_*` from which a gain is reported as close to the limit."""


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: ShortcutsParams) -> list[Finding]:
    """Find labels that file properties or the background predict.

    Reports only what is far above chance: by `min_gain_*` or `min_balanced_accuracy`, and by more
    than luck explains. A gain of 70% of `min_gain_*` is a hint.

    Args:
        photos: The photo index; those with a `defect` are left out. Properties without a column
            are passed over.
        taxonomy: The heads.
        params: Thresholds and seed.

    Returns:
        At most one finding per question and kind of property. File properties are an alarm; the
        border is a warning, for part of the plant may reach it.
    """
    return findings_from(measure(photos, taxonomy, params), params)


def findings_from(measured: list[Predictability], params: ShortcutsParams) -> list[Finding]:
    """Report what is far above chance, and as a hint what comes close to that."""
    findings = []
    for one in measured:
        if one.separable or _is_far_above_chance(one, params):
            findings.append(_finding(one, params))
        elif one.is_significant and one.gain >= _NEAR * params.least_gain(one.kind):
            findings.append(_near_limit(one, params))
    return findings


# ------------------------------------------------------------------ words


def _is_far_above_chance(measured: Predictability, params: ShortcutsParams) -> bool:
    return measured.is_significant and measured.gain >= params.least_gain(measured.kind)


def _finding(measured: Predictability, params: ShortcutsParams) -> Finding:
    sentences = list(_separable_in_words(measured))
    if _is_far_above_chance(measured, params):
        sentences += [_accuracy_in_words(measured), *_cause_in_words(measured)]
    file = measured.kind == "file"
    return Finding(
        check="shortcuts",
        severity="alarm" if file else "warning",
        head=measured.head,
        sentence=" ".join(sentences),
        advice=(
            "Cut and save all classes in one way, take photos of every class with every camera, and"
            " judge on photos from elsewhere: a test split of these has the same shortcut."
            if file
            else "Take photos of every class before every background or crop closer, and judge on"
            " photos from elsewhere: a test split of these has the same backgrounds."
        ),
        classes=[one.answer for one in measured.separable] if not measured.attribute else [],
        numbers=as_numbers(measured),
    )


def _near_limit(measured: Predictability, params: ShortcutsParams) -> Finding:
    limit = params.least_gain(measured.kind)
    return Finding(
        check="shortcuts",
        severity="hint",
        head=measured.head,
        sentence=(
            f"{_accuracy_in_words(measured)} That closes {measured.gain:.0%} of the gap between"
            f" chance and naming every photo right; a warning begins at {limit:.0%}."
        ),
        advice=(
            "Judge on some photos from elsewhere too: part of what a network scores here may come"
            " from this."
        ),
        numbers=as_numbers(measured),
    )


def as_numbers(measured: Predictability) -> dict[str, object]:
    """Plain values, ready for JSON, shares to four decimals."""

    def plain(value: object) -> Any:
        if isinstance(value, float):
            return round(value, 4)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(vars(item)) for item in value]
        return value

    return plain(dict(vars(measured)))


def _separable_in_words(measured: Predictability) -> Iterator[str]:
    if not measured.separable:
        return
    best = measured.separable[0]
    hint = f" ({best.hint})" if best.hint else ""
    if measured.attribute is not None:
        yield (
            f"{_alone(best)} photos with '{measured.attribute}' from those without:"
            f" {_percent(best.balanced_accuracy)}{hint}."
        )
        return
    yield (
        f"{_alone(best)} '{best.answer}' from the rest of '{measured.head}':"
        f" {_percent(best.balanced_accuracy)}{hint}."
    )
    if len(measured.separable) > 1:
        is_file = measured.kind == "file"  # the border is a single property: no need to repeat it
        others = [
            f"'{one.answer}' ({f'{one.by}, ' if is_file else ''}{_percent(one.balanced_accuracy)})"
            for one in measured.separable[1:]
        ]
        yield f"Likewise {listed(others, 3)}."


def _alone(separated: OneVsRest) -> str:
    by = separated.by
    if by == TOGETHER["file"]:
        return "File properties together separate"
    if by == TOGETHER["border"]:
        return "The mean colour of the border alone separates"
    return f"{by if by.startswith('EXIF') else by[0].upper() + by[1:]} alone separates"


def _accuracy_in_words(measured: Predictability) -> str:
    what = "File properties" if measured.kind == "file" else "The border's colour"
    verb = "name" if measured.kind == "file" else "names"
    usual = (
        "always naming the most frequent answer"
        if measured.attribute
        else ("always naming the largest class")
    )
    best = next(iter(measured.alone), None)
    most = ""
    if measured.kind == "file" and best is not None and len(measured.alone) > 1:
        most = f"; the best single one is {best}, {_percent(measured.alone[best])} alone"
    of = f"'{measured.attribute}'" if measured.attribute else f"'{measured.head}'"
    return (
        f"{what} {verb} {of} for {_percent(measured.accuracy)} of the photos, {usual} for"
        f" {_percent(measured.chance)}{most}."
    )


def _cause_in_words(measured: Predictability) -> Iterator[str]:
    """Sources that bring different classes and different files explain each other."""
    by_source = measured.sources
    if by_source is not None and _gain(by_source, measured) >= 0.5 * measured.gain:
        yield (
            f"Much of it comes from mixing sources: the source alone names {_percent(by_source)}."
        )


def _gain(accuracy: float, measured: Predictability) -> float:
    return (accuracy - measured.chance) / (1 - measured.chance)


def _percent(share: float) -> str:
    """Rounds so that an incomplete share never prints 100%."""
    if 0.995 <= share < 1:
        return f"{np.floor(share * 1000) / 10:.1f}%"
    return f"{share:.0%}"


__all__ = [
    "PROPERTIES",
    "OneVsRest",
    "Predictability",
    "ShortcutsParams",
    "as_numbers",
    "find",
    "findings_from",
    "measure",
]
