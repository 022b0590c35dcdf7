"""Exact test for shortcuts in classes with few groups.

The small models of `shortcuts` need a dozen groups of photos to be judged on some that they did not
see. Of fewer an exact test is left: where the groups of a class stand next to each other in the
order of a property, with no other group among them, chance seldom did that. Of G groups with g of
the class there are C(G, g) ways to place these g, and at most G - g + 1 of them are a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.photo_sets.checks.finding import Finding, Question, kept, listed, questions
from cannabis_ml.photo_sets.file_properties import PROPERTIES, groups_of, properties_of
from cannabis_ml.photo_sets.predictability import ShortcutsParams
from cannabis_ml.taxonomy import Taxonomy


@dataclass(frozen=True)
class Unchecked:
    """Classes with too few groups to look for shortcuts in.

    Attributes:
        question: `head` or `head.attribute`.
        classes: Classes that occur.
        few: Groups of each class with too few for the models of `shortcuts`.
        out_of_reach: Those of them with too few for the exact test too.
    """

    question: str
    classes: int
    few: dict[str, int]
    out_of_reach: list[str]

    def as_dict(self, least: int) -> dict[str, object]:
        """Plain values with a sentence, ready for JSON.

        Args:
            least: Groups that a class needs.
        """
        named = listed(f"'{name}' {n}" for name, n in self.few.items())
        sentence = (
            f"'{self.question}': {len(self.few)} of {self.classes} classes have fewer than {least}"
            f" groups of photos ({named}). They were checked only for single properties that"
            " separate them without an exception."
        )
        if self.out_of_reach:
            sentence += (
                f" Not checked at all: {listed(map(repr, self.out_of_reach))}, as with so few"
                " groups chance alone separates them."
            )
        return {**vars(self), "sentence": sentence}


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: ShortcutsParams) -> list[Finding]:
    """Find classes with few groups that a single property separates without an exception.

    Args:
        photos: As for `shortcuts.find`.
        taxonomy: The heads.
        params: Classes with fewer than `min_groups` groups are tested; `error_rate` is the chance
            that luck is taken for a shortcut, all comparisons together.

    Returns:
        At most one finding per class, by the property with the smallest chance; an alarm, or for
        the border's colour a warning.
    """
    sound = kept(photos).reset_index(drop=True)
    table, groups = properties_of(sound), groups_of(sound)
    tested = [_tested(question, groups, params) for question in questions(sound, taxonomy)]
    level = _level(tested, params)
    return [
        finding
        for one in tested
        for answer in one.few
        if (finding := _finding(one, answer, table, groups, level)) is not None
    ]


def unchecked(
    photos: pd.DataFrame, taxonomy: Taxonomy, params: ShortcutsParams
) -> list[dict[str, object]]:
    """Name what `shortcuts` passed over, as `Unchecked.as_dict`.

    Args:
        photos: As for `find`.
        taxonomy: As for `find`.
        params: As for `find`.
    """
    sound = kept(photos).reset_index(drop=True)
    groups = groups_of(sound)
    tested = [_tested(question, groups, params) for question in questions(sound, taxonomy)]
    level = _level(tested, params)
    passed_over = []
    for question, few, known in tested:
        if few:
            total = len(np.unique(groups[known]))
            beyond = [name for name, n in few.items() if _chance(n, total) > level]
            classes = int(question.answers[known].nunique())
            passed_over.append(
                Unchecked(question.name, classes, few, beyond).as_dict(params.min_groups)
            )
    return passed_over


class _Tested(NamedTuple):
    """A question whose classes with few groups are tested.

    Attributes:
        question: A head or an attribute.
        few: Groups of each class that has few.
        known: Which photos have an answer, bool (N,).
    """

    question: Question
    few: dict[str, int]
    known: np.ndarray


def _tested(question: Question, groups: np.ndarray, params: ShortcutsParams) -> _Tested:
    known = question.answers.notna().to_numpy()
    counts = {
        answer: len(np.unique(groups[(question.answers == answer).to_numpy()]))
        for answer in question.classes
    }
    few = {name: n for name, n in counts.items() if 0 < n < params.min_groups}
    return _Tested(question, few, known)


def _level(tested: list[_Tested], params: ShortcutsParams) -> float:
    columns = sum(len(p.columns) for p in PROPERTIES)
    return params.error_rate / max(1, columns * sum(len(one.few) for one in tested))


def _chance(groups: int, total: int) -> float:
    """Upper bound on the probability that so many of all groups form a run by chance."""
    return (total - groups + 1) / comb(total, groups)


def _finding(
    tested: _Tested, answer: str, table: pd.DataFrame, groups: np.ndarray, level: float
) -> Finding | None:
    question, known = tested.question, tested.known
    is_class = (question.answers == answer).to_numpy()
    mine, others = np.unique(groups[is_class]), np.unique(groups[known & ~is_class])
    # A group with photos of both cannot separate them.
    chance = _chance(len(mine), len(np.union1d(mine, others)))
    if chance > level or len(np.intersect1d(mine, others)):
        return None
    for title, unit, is_file, values in _tried(table):
        low, high = values[is_class].min(), values[is_class].max()
        rest = values[known & ~is_class]
        complete = values[known].notna().all()
        if not complete or not rest.size or ((rest >= low) & (rest <= high)).any():
            continue
        span = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
        values_of = f" ({span} {unit} in all of them and in none of the rest)" if unit else ""
        return Finding(
            check="shortcuts",
            severity="alarm" if is_file else "warning",
            head=question.head,
            sentence=(
                f"{title[0].upper()}{title[1:]} alone separates all {int(is_class.sum()):,} photos"
                f" of '{answer}' from the {len(rest):,} others of '{question.name}'{values_of}, in"
                f" {len(mine)} groups of photos: by chance that happens once in {1 / chance:,.0f}."
            ),
            advice=(
                "Cut and save all classes in one way, and bring photos of this class from more"
                " plants, cameras and places: a test split of these has the same shortcut."
            ),
            classes=[answer] if question.attribute is None else [],
            numbers={"groups": len(mine), "photos": int(is_class.sum()), "chance": chance},
        )
    return None


def _tried(table: pd.DataFrame) -> Iterator[tuple[str, str, bool, pd.Series]]:
    for one in PROPERTIES:
        for column in one.columns:
            if column in table:
                yield one.title, one.unit, one.kind == "file", table[column]
