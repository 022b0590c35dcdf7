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
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import Finding, Question, kept, listed, questions
from cannabis_ml.taxonomy import Taxonomy

Kind = Literal["file", "border"]


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
        description="Speak when file properties close this share of the gap between chance and"
        " naming every photo right",
    )
    min_gain_border: float = Field(
        default=0.25, gt=0, lt=1, description="The same for the mean colour of the border"
    )
    min_told: float = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="Speak when a class is told from the rest this well: mean of the share found"
        " and the share of others not mistaken for it; 0.5 is chance",
    )
    error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Chance that luck alone is taken for a shortcut, all comparisons together",
    )


@dataclass(frozen=True)
class Property:
    """A property of the file or the border, known without looking at the plant."""

    title: str
    kind: Kind
    columns: tuple[str, ...]
    unit: str = ""


# Simple ones first: of several that tell equally well, the first is named.
PROPERTIES = (
    Property("file format", "file", ("format",)),
    Property("colour mode", "file", ("mode",)),
    Property("camera make (EXIF)", "file", ("exif_make",)),
    Property("EXIF orientation", "file", ("exif_orientation",)),
    Property("height", "file", ("height",), "px"),
    Property("width", "file", ("width",), "px"),
    Property("longer side", "file", ("longer_side",), "px"),
    Property("aspect ratio", "file", ("aspect",)),
    Property("file size", "file", ("bytes",), "bytes"),
    Property("file size per pixel", "file", ("bytes_per_pixel",), "bytes"),
    Property("mean colour of the border", "border", ("border_red", "border_green", "border_blue")),
)
TOGETHER = {"file": "file properties together", "border": "mean colour of the border"}


@dataclass(frozen=True)
class OneVsRest:
    """How well one property, or all of a kind, separates one class from the rest.

    Attributes:
        answer: The class.
        by: Title of the property.
        score: Mean of `found` and 1 - `mistaken`; 0.5 is chance.
        found: Share of the class that was recognised.
        mistaken: Share of the others taken for it.
        hint: The telling value in words, or nothing.
    """

    answer: str
    by: str
    score: float
    found: float
    mistaken: float
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
        is_sure: Whether the accuracy is above chance by more than luck.
        alone: Accuracy by each property alone, best first; empty where nothing is there to tell.
        told: Classes told from the rest, best first.
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
    is_sure: bool
    alone: dict[str, float] = field(default_factory=dict)
    told: list[OneVsRest] = field(default_factory=list)
    sources: float | None = None


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: ShortcutsParams) -> list[Finding]:
    """Find labels that file properties or the background predict.

    Silent where the model is not far above chance: by `min_gain_*` or `min_told`, and by more
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
    asked = list(questions(sound, taxonomy))
    comparisons = sum(len(q.classes) for q in asked) * len(PROPERTIES)
    deviations = NormalDist().inv_cdf(1 - params.error_rate / max(1, comparisons))
    measured = []
    for question in asked:
        problem = _problem(question, groups, table, params)
        if problem is not None:
            kinds: tuple[Kind, ...] = ("file", "border")
            found = [_measure(question, problem, kind, params, deviations) for kind in kinds]
            measured += [m for m in found if m is not None]
    return measured


def findings_from(measured: list[Predictability], params: ShortcutsParams) -> list[Finding]:
    """Report what is far above chance, and as a hint what comes close to that."""
    findings = []
    for one in measured:
        if one.told or _is_far_above_chance(one, params):
            findings.append(_finding(one, params))
        elif one.is_sure and one.gain >= _NEAR * _least_gain(one.kind, params):
            findings.append(_near_limit(one, params))
    return findings


# ------------------------------------------------------------------ what is put to the model


@dataclass(frozen=True)
class _Problem:
    table: pd.DataFrame  # (n, properties), numbers, missing as NaN
    answers: np.ndarray  # (n,) indices into classes
    classes: list[str]
    groups: np.ndarray  # (n,) indices of groups
    folds: np.ndarray  # (n,)


def properties_of(photos: pd.DataFrame) -> pd.DataFrame:
    """Numbers of every property there is; names become numbers by how frequent they are."""
    known = {}
    for name in ("format", "mode", "exif_make", "source"):
        if name in photos:
            values = photos[name].astype("object").fillna("none").astype("str")
            ranks = {value: i for i, value in enumerate(values.value_counts().index)}
            known[name] = values.map(ranks)
    numeric = ("exif_orientation", "height", "width", "bytes")
    for name in (*numeric, "border_red", "border_green", "border_blue"):
        if name in photos:
            known[name] = pd.to_numeric(photos[name]).astype("Float64")
    if "exif_orientation" in known:
        known["exif_orientation"] = known["exif_orientation"].fillna(1)  # as good as not said
    if "height" in known and "width" in known:
        known["longer_side"] = known["height"].where(
            known["height"] >= known["width"], known["width"]
        )
        known["aspect"] = known["width"] / known["height"]
        if "bytes" in known:
            known["bytes_per_pixel"] = known["bytes"] / (known["height"] * known["width"])
    return pd.DataFrame(known, index=photos.index).astype("Float64").astype("float64")


def groups_of(photos: pd.DataFrame) -> np.ndarray:
    """Photos that belong together: by group, else by near-duplicate cluster, else each its own."""
    names = pd.Series([f"row {i}" for i in range(len(photos))], index=photos.index)
    if "cluster" in photos:
        names = names.mask(photos["cluster"].notna(), "cluster " + photos["cluster"].astype("str"))
    if "group" in photos:
        names = names.mask(photos["group"].notna(), "group " + photos["group"].astype("str"))
    return pd.factorize(names)[0]


def _problem(
    question: Question, groups: np.ndarray, table: pd.DataFrame, params: ShortcutsParams
) -> _Problem | None:
    codes = pd.Categorical(question.answers, categories=question.classes).codes.astype(np.int64)
    pairs = pd.DataFrame({"code": codes, "group": groups}).drop_duplicates()
    sizes = pairs["code"].value_counts()
    enough = sorted(c for c in sizes.index[sizes >= params.min_groups] if c >= 0)
    if len(enough) < 2:
        return None
    # One stream of chance per question: what is asked of one head changes nothing for another.
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
_NEAR = 0.7
"""Share of `min_gain_*` from which a gain is pointed out as close to what is warned of."""
_SCREEN = 0.7
"""Share of `min_told`'s way above chance below which no property is tried alone for a class."""


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
        return Predictability(**known, accuracy=chance, gain=0.0, is_sure=False)
    columns = [column for p in tried for column in p.columns]
    probs = _cross_validated(problem, columns, params.seed, trees=_TREES)
    accuracy = _accuracy(probs, problem)
    gain = (accuracy - chance) / (1 - chance)
    is_sure = _wilson_lower(accuracy, groups, deviations) > chance
    told = _told(TOGETHER[kind], probs, problem, deviations)
    screen = 0.5 + _SCREEN * (params.min_told - 0.5)
    if (
        not (is_sure and gain >= _least_gain(kind, params))
        and max(t.score for t in told.values()) < screen
    ):
        return Predictability(**known, accuracy=accuracy, gain=gain, is_sure=is_sure)
    alone, told_by = {}, [told]
    for one in tried:
        if kind == "border":
            alone[one.title] = accuracy
            continue
        by_one = _cross_validated(problem, list(one.columns), params.seed, trees=1)
        alone[one.title] = _accuracy(by_one, problem)
        told_by.append(_told(one.title, by_one, problem, deviations))
    return Predictability(
        **known,
        accuracy=accuracy,
        gain=gain,
        is_sure=is_sure,
        alone=dict(sorted(alone.items(), key=lambda item: -item[1])),
        told=list(_best_told(told_by, problem, params)),
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


def _told(by: str, probs: np.ndarray, problem: _Problem, deviations: float) -> dict[int, OneVsRest]:
    """One-vs-rest scores of each class, 0.5 where they are not significant."""
    told = {}
    for code, name in enumerate(problem.classes):
        is_class = problem.answers == code
        # More probable than before anything was known of the photo.
        named = probs[:, code] > is_class.mean()
        found, mistaken = float(named[is_class].mean()), float(named[~is_class].mean())
        score = (found + 1 - mistaken) / 2
        lower = [
            _wilson_lower(share, len(np.unique(problem.groups[rows])), deviations)
            for share, rows in ((found, is_class), (1 - mistaken, ~is_class))
        ]
        told[code] = OneVsRest(name, by, score if sum(lower) / 2 > 0.5 else 0.5, found, mistaken)
    return told


def _best_told(
    told_by: list[dict[int, OneVsRest]], problem: _Problem, params: ShortcutsParams
) -> Iterator[OneVsRest]:
    """The most telling property of each class that is told well enough, best class first."""
    together, *alone = told_by
    best = []
    for code, by_all in together.items():
        single = [told[code] for told in alone]
        top = max((t.score for t in single), default=0.0)
        if max(top, by_all.score) < params.min_told:
            continue
        # The first that is about as good as the best; all together only if clearly better.
        candidates = [t for t in single if t.score >= top - 0.01]
        if not candidates or (top < params.min_told and by_all.score > top + 0.02):
            candidates = [by_all]
        best.append(candidates[0])
    for one in sorted(best, key=lambda t: -t.score):
        yield OneVsRest(**{**vars(one), "hint": _hint(one, problem)})


def _hint(told: OneVsRest, problem: _Problem) -> str:
    """The value that gives the class away, where it is one value; else both medians."""
    of = {p.title: p for p in PROPERTIES}.get(told.by)
    if of is None or len(of.columns) > 1 or not of.unit:
        return ""
    values = problem.table[of.columns[0]]
    is_class = problem.answers == problem.classes.index(told.answer)
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


# ------------------------------------------------------------------ words


def _is_far_above_chance(measured: Predictability, params: ShortcutsParams) -> bool:
    return measured.is_sure and measured.gain >= _least_gain(measured.kind, params)


def _least_gain(kind: Kind, params: ShortcutsParams) -> float:
    return params.min_gain_file if kind == "file" else params.min_gain_border


def _finding(measured: Predictability, params: ShortcutsParams) -> Finding:
    sentences = list(_told_in_words(measured))
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
        classes=[told.answer for told in measured.told] if not measured.attribute else [],
        numbers=as_numbers(measured),
    )


def _near_limit(measured: Predictability, params: ShortcutsParams) -> Finding:
    limit = _least_gain(measured.kind, params)
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


def as_numbers(measured: Predictability) -> dict[str, Any]:
    """Plain values, ready for JSON, shares to four decimals."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 4)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(vars(item)) for item in value]
        return value

    return plain(dict(vars(measured)))


def _told_in_words(measured: Predictability) -> Iterator[str]:
    if not measured.told:
        return
    best = measured.told[0]
    hint = f" ({best.hint})" if best.hint else ""
    if measured.attribute is not None:
        yield (
            f"{_alone(best)} photos with '{measured.attribute}' from those without:"
            f" {_percent(best.score)}{hint}."
        )
        return
    yield (
        f"{_alone(best)} '{best.answer}' from the rest of '{measured.head}':"
        f" {_percent(best.score)}{hint}."
    )
    if len(measured.told) > 1:
        is_file = measured.kind == "file"  # the border is a single property: no need to repeat it
        others = [
            f"'{told.answer}' ({f'{told.by}, ' if is_file else ''}{_percent(told.score)})"
            for told in measured.told[1:]
        ]
        yield f"Likewise {listed(others, 3)}."


def _alone(told: OneVsRest) -> str:
    if told.by == TOGETHER["file"]:
        return "File properties together tell"
    if told.by == TOGETHER["border"]:
        return "The mean colour of the border alone tells"
    title = told.by if told.by.startswith("EXIF") else told.by[0].upper() + told.by[1:]
    return f"{title} alone tells"


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
        most = f"; the most telling is {best}, {_percent(measured.alone[best])} alone"
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
