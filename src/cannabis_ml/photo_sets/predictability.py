"""How well properties of the file, or the border's colour, predict labels.

A small model names each label from them, cross-validated over groups of photos. What it can do, a
network can do instead of looking at the plant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import Question, kept, questions
from cannabis_ml.photo_sets.file_properties import PROPERTIES, Kind, groups_of, properties_of
from cannabis_ml.taxonomy import Taxonomy

TOGETHER = {"file": "file properties together", "border": "mean colour of the border"}


class ShortcutsParams(BaseModel):
    """How shortcuts are measured, and from when they are reported."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, description="Of folds, subsample and models")
    max_photos: int = Field(
        default=5_000, ge=100, description="Look at about so many photos; of rare classes at all"
    )
    folds: int = Field(default=5, ge=2, le=20, description="Parts of the cross-validation")
    min_groups: int = Field(
        default=10, ge=2, description="Pass over classes with fewer groups of photos than this"
    )
    min_gain_file: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Report a head when file properties close this share of the gap between chance"
        " and naming every photo right",
    )
    min_gain_border: float = Field(
        default=0.25, gt=0, lt=1, description="The same for the mean colour of the border"
    )
    min_balanced_accuracy: float = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="Report a class that is separated from the rest with this balanced accuracy;"
        " 0.5 is chance",
    )
    error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Chance that luck alone is taken for a shortcut, all comparisons together",
    )

    def least_gain(self, kind: Kind) -> float:
        """The gain from which a kind of property is reported."""
        return self.min_gain_file if kind == "file" else self.min_gain_border


@dataclass(frozen=True)
class OneVsRest:
    """How well one property, or all of a kind, separates one class from the rest.

    Attributes:
        answer: The class.
        by: Title of the property.
        balanced_accuracy: Mean of `recall` and 1 - `false_positive_rate`; 0.5 is chance.
        recall: Share of the class that was recognized.
        false_positive_rate: Share of the others taken for it.
        hint: The value that separates them, in words, or nothing.
    """

    answer: str
    by: str
    balanced_accuracy: float
    recall: float
    false_positive_rate: float
    hint: str = ""


@dataclass(frozen=True)
class Predictability:
    """How well one kind of property predicts one head or attribute.

    Attributes:
        head: Name of the head.
        question: `head` or `head.attribute`.
        attribute: The attribute, where the head is multilabel.
        kind: `file` or `border`.
        photos: Photos looked at.
        groups: Groups they fall into.
        classes: Classes with enough groups.
        accuracy: Share of photos named right, cross-validated by group.
        chance: Share of the most frequent class.
        gain: Share of the gap between chance and 1 that is closed; below 0 where worse than chance.
        is_significant: Whether the accuracy is above chance by more than luck.
        alone: Accuracy by each property alone, best first; empty where nothing is reported.
        separable: Classes that are separated from the rest, best first.
        sources: The same accuracy by the name of the source alone, where there are several.
    """

    head: str
    question: str
    attribute: str | None
    kind: Kind
    photos: int
    groups: int
    classes: int
    accuracy: float
    chance: float
    gain: float
    is_significant: bool
    alone: dict[str, float] = field(default_factory=dict)
    separable: list[OneVsRest] = field(default_factory=list)
    sources: float | None = None


def measure(
    photos: pd.DataFrame, taxonomy: Taxonomy, params: ShortcutsParams
) -> list[Predictability]:
    """Measure every question by every kind of property, remarkable or not.

    Args:
        photos: As `find`.
        taxonomy: As `find`.
        params: As `find`.

    Returns:
        One entry per question and kind that could be measured: at least two classes with
        `min_groups` groups of photos each. In the order of the taxonomy.
    """
    sound = kept(photos).reset_index(drop=True)
    table, groups = properties_of(sound), groups_of(sound)
    all_questions = list(questions(sound, taxonomy))
    comparisons = sum(len(q.classes) for q in all_questions) * len(PROPERTIES)
    deviations = NormalDist().inv_cdf(1 - params.error_rate / max(1, comparisons))
    measured = []
    for question in all_questions:
        problem = _problem(question, groups, table, params)
        if problem is not None:
            kinds: tuple[Kind, ...] = ("file", "border")
            results = [_measure(question, problem, kind, params, deviations) for kind in kinds]
            measured += [m for m in results if m is not None]
    return measured


# ------------------------------------------------------------------ classification problems


@dataclass(frozen=True)
class _Problem:
    table: pd.DataFrame  # (n, properties), numbers, missing as NaN
    answers: np.ndarray  # (n,) indices into classes
    classes: list[str]
    groups: np.ndarray  # (n,) indices of groups
    folds: np.ndarray  # (n,)


def _problem(
    question: Question, groups: np.ndarray, table: pd.DataFrame, params: ShortcutsParams
) -> _Problem | None:
    codes = pd.Categorical(question.answers, categories=question.classes).codes.astype(np.int64)
    pairs = pd.DataFrame({"code": codes, "group": groups}).drop_duplicates()
    sizes = pairs["code"].value_counts()
    enough = sorted(c for c in sizes.index[sizes >= params.min_groups] if c >= 0)
    if len(enough) < 2:
        return None
    # A random stream per question: changing one head changes nothing for another.
    random = np.random.default_rng([params.seed, len(question.name), *question.name.encode()])
    rows = _sample(np.flatnonzero(np.isin(codes, enough)), codes, params.max_photos, random)
    answers = np.searchsorted(enough, codes[rows])
    return _Problem(
        table=table.iloc[rows],
        answers=answers,
        classes=[question.classes[code] for code in enough],
        groups=groups[rows],
        folds=_folds(answers, groups[rows], params.folds, random),
    )


def _sample(
    rows: np.ndarray, codes: np.ndarray, wanted: int, random: np.random.Generator
) -> np.ndarray:
    """About `wanted` rows, classes in proportion, but of each class at least what can be judged."""
    if len(rows) <= wanted:
        return rows
    at_least = 60
    chosen = []
    for code in np.unique(codes[rows]):
        of_class = rows[codes[rows] == code]
        size = max(min(len(of_class), at_least), round(len(of_class) * wanted / len(rows)))
        chosen.append(random.choice(of_class, size, replace=False))
    return np.sort(np.concatenate(chosen))


def _folds(
    answers: np.ndarray, groups: np.ndarray, folds: int, random: np.random.Generator
) -> np.ndarray:
    """Stratified group folds: groups are assigned in turn, class by class."""
    names, first, which = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = random.permutation(len(names))
    dealt = shuffled[np.argsort(answers[first][shuffled], kind="stable")]
    fold_of_group = np.empty(len(names), np.int64)
    fold_of_group[dealt] = np.arange(len(names)) % folds
    return fold_of_group[which]


# ------------------------------------------------------------------ models


_TREES = 16
_SCREEN = 0.7
"""Of the way from chance to `min_balanced_accuracy`; below it no property is tried alone."""


def _measure(
    question: Question, problem: _Problem, kind: Kind, params: ShortcutsParams, deviations: float
) -> Predictability | None:
    tried = [p for p in PROPERTIES if p.kind == kind and set(p.columns) <= set(problem.table)]
    tried = [p for p in tried if (problem.table[list(p.columns)].nunique(dropna=False) > 1).any()]
    groups = len(np.unique(problem.groups))
    chance = float(np.bincount(problem.answers).max() / len(problem.answers))
    known: dict[str, Any] = {
        "head": question.head,
        "question": question.name,
        "attribute": question.attribute,
        "kind": kind,
        "photos": len(problem.answers),
        "groups": groups,
        "classes": len(problem.classes),
        "chance": chance,
    }
    if not tried:
        if not any(set(p.columns) <= set(problem.table) for p in PROPERTIES if p.kind == kind):
            return None
        return Predictability(**known, accuracy=chance, gain=0.0, is_significant=False)
    columns = [column for p in tried for column in p.columns]
    probs = _cross_validated(problem, columns, params.seed, trees=_TREES)
    accuracy = _accuracy(probs, problem)
    gain = (accuracy - chance) / (1 - chance)
    is_significant = _wilson_lower(accuracy, groups, deviations) > chance
    together = _one_vs_rest(TOGETHER[kind], probs, problem, deviations)
    screen = 0.5 + _SCREEN * (params.min_balanced_accuracy - 0.5)
    if (
        not (is_significant and gain >= params.least_gain(kind))
        and max(one.balanced_accuracy for one in together.values()) < screen
    ):
        return Predictability(**known, accuracy=accuracy, gain=gain, is_significant=is_significant)
    alone, scores = {}, [together]
    for one in tried:
        if kind == "border":
            alone[one.title] = accuracy
            continue
        by_one = _cross_validated(problem, list(one.columns), params.seed, trees=1)
        alone[one.title] = _accuracy(by_one, problem)
        scores.append(_one_vs_rest(one.title, by_one, problem, deviations))
    return Predictability(
        **known,
        accuracy=accuracy,
        gain=gain,
        is_significant=is_significant,
        alone=dict(sorted(alone.items(), key=lambda item: -item[1])),
        separable=list(_separable(scores, problem, params)),
        sources=_by_source(problem, params),
    )


def _cross_validated(problem: _Problem, columns: list[str], seed: int, trees: int) -> np.ndarray:
    """Probabilities (n, K) of photos whose group the model did not see."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    values = problem.table[columns].to_numpy(np.float32)
    probs = np.zeros((len(values), len(problem.classes)))
    for fold in np.unique(problem.folds):
        held_out = problem.folds == fold
        if held_out.all():
            continue
        if trees == 1:
            model = DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)
        else:
            model = RandomForestClassifier(trees, min_samples_leaf=3, random_state=seed, n_jobs=1)
        model.fit(values[~held_out], problem.answers[~held_out])
        probs[np.ix_(held_out, model.classes_)] = model.predict_proba(values[held_out])
    return probs


def _accuracy(probs: np.ndarray, problem: _Problem) -> float:
    return float((probs.argmax(axis=1) == problem.answers).mean())


def _one_vs_rest(
    by: str, probs: np.ndarray, problem: _Problem, deviations: float
) -> dict[int, OneVsRest]:
    """One-vs-rest scores of each class, 0.5 where they are not significant."""
    scores = {}
    for code, name in enumerate(problem.classes):
        is_class = problem.answers == code
        # More probable than the class is without knowing anything of the photo.
        named = probs[:, code] > is_class.mean()
        recall, mistaken = float(named[is_class].mean()), float(named[~is_class].mean())
        lower = [
            _wilson_lower(share, len(np.unique(problem.groups[rows])), deviations)
            for share, rows in ((recall, is_class), (1 - mistaken, ~is_class))
        ]
        balanced = (recall + 1 - mistaken) / 2 if sum(lower) / 2 > 0.5 else 0.5
        scores[code] = OneVsRest(name, by, balanced, recall, mistaken)
    return scores


def _separable(
    scores: list[dict[int, OneVsRest]], problem: _Problem, params: ShortcutsParams
) -> Iterator[OneVsRest]:
    """The property that separates each class best, where that is good enough; best class first."""
    limit = params.min_balanced_accuracy
    together, *alone = scores
    best = []
    for code, by_all in together.items():
        single = [by_one[code] for by_one in alone]
        top = max((one.balanced_accuracy for one in single), default=0.0)
        if max(top, by_all.balanced_accuracy) < limit:
            continue
        # The first that is about as good as the best; all together only if clearly better.
        candidates = [one for one in single if one.balanced_accuracy >= top - 0.01]
        if not candidates or (top < limit and by_all.balanced_accuracy > top + 0.02):
            candidates = [by_all]
        best.append(candidates[0])
    for one in sorted(best, key=lambda one: -one.balanced_accuracy):
        yield replace(one, hint=_hint(one, problem))


def _hint(separated: OneVsRest, problem: _Problem) -> str:
    """The value that gives the class away, where it is one value; else both medians."""
    of = {p.title: p for p in PROPERTIES}.get(separated.by)
    if of is None or len(of.columns) > 1 or not of.unit:
        return ""
    values = problem.table[of.columns[0]]
    is_class = problem.answers == problem.classes.index(separated.answer)
    mine, others = values[is_class].dropna(), values[~is_class].dropna()
    if mine.empty or others.empty:
        return ""
    value = mine.mode().iloc[0]
    share, elsewhere = float((mine == value).mean()), float((others == value).mean())
    if share >= 0.5 and elsewhere <= 0.2:
        return f"{value:,.0f} {of.unit} in {share:.0%} of them and in {elsewhere:.0%} of the rest"
    digits = 0 if max(mine.median(), others.median()) >= 100 else 2
    return (
        f"median {mine.median():,.{digits}f} {of.unit} against {others.median():,.{digits}f} of"
        " the rest"
    )


def _by_source(problem: _Problem, params: ShortcutsParams) -> float | None:
    if "source" not in problem.table or problem.table["source"].nunique() < 2:
        return None
    return _accuracy(_cross_validated(problem, ["source"], params.seed, trees=1), problem)


def _wilson_lower(share: float, n: int, deviations: float) -> float:
    """Lower end of the Wilson interval of a share seen in n cases (Wilson 1927)."""
    z2 = deviations**2
    center = share + z2 / (2 * n)
    half = deviations * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return float((center - half) / (1 + z2 / n))
