"""Heads, their classes, and which class implies which.

A taxonomy is data. It is written in `parameters_taxonomy.yml`, or parts of it are derived from
the labels that came with the photos. No class name stands in the code.

Labels travel in tables. A multiclass or ordinal head has one string column under its own name; a
multilabel head has one nullable Int8 column per class, named `head.class` (1 present, 0 absent).
A missing value means unknown: it costs no loss and counts in no metric.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.text import Name, NormalNames, at_a_glance, normal

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["multiclass", "ordinal", "multilabel"]

MISSING = -1
"""Stands for an unknown label in encoded integer labels."""

NEAREST_CUTOFF = 0.6
"""How alike (difflib ratio, 0 to 1) a class must be to be offered as "did you mean"."""


class ClassSpec(BaseModel):
    """One class of a head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="As it stands in labels, metrics and exported models")
    about: str = Field(default="", description="What the eye sees")


def _as_class_list(value: Any) -> Any:
    """Accept `[a, b]`, `[{a: about}, …]`, `{a: about}` and lists of full class specifications."""
    if isinstance(value, dict):
        value = [{name: about} for name, about in value.items()]
    if not isinstance(value, list | tuple):
        return value
    return [_as_class(item) for item in value]


def _as_class(item: Any) -> Any:
    if isinstance(item, dict) and "name" not in item and len(item) == 1:
        name, about = next(iter(item.items()))
        return {"name": str(name), "about": about or ""}
    # YAML reads a class called `3` or `no` as a number or a boolean.
    return {"name": str(item)} if isinstance(item, str | int | float) else item


ClassList = Annotated[list[ClassSpec], BeforeValidator(_as_class_list)]


class Head(BaseModel):
    """One question that a photo answers."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    kind: Kind = "multiclass"
    about: str = ""
    classes: ClassList = Field(description="In label order; an ordinal head: best first")
    parent: str | None = Field(default=None, description="Head whose answer limits this one's")
    allowed: dict[str, list[str]] | None = Field(
        default=None, description="Classes of this head that each class of the parent allows"
    )

    @property
    def class_names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def columns(self) -> list[str]:
        """The label columns of this head in a table of photos."""
        if self.kind == "multilabel":
            return [self.column_of(name) for name in self.class_names]
        return [self.name]

    def column_of(self, class_name: str) -> str:
        """The label column of one class."""
        return f"{self.name}.{class_name}" if self.kind == "multilabel" else self.name

    def shows(self, photos: pd.DataFrame, class_name: str) -> pd.Series:
        """Which photos are labelled with a class, whatever the kind of head.

        Args:
            photos: One row per photo; without the head's column nothing is known of any.
            class_name: One of `class_names`.

        Returns:
            bool, with the index of `photos`; False where unknown.
        """
        labels = photos.reindex(columns=[self.column_of(class_name)]).iloc[:, 0]
        return (labels == self._label_of(class_name)).fillna(False).astype(bool)

    def is_shown(self, photo: Mapping[str, Any], class_name: str) -> bool | None:
        """Whether one photo is labelled with a class; None where unknown.

        Args:
            photo: Its labels by column, None where unknown.
            class_name: One of `class_names`.
        """
        label = photo[self.column_of(class_name)]
        return None if label is None else label == self._label_of(class_name)

    def _label_of(self, class_name: str) -> str | int:
        return 1 if self.kind == "multilabel" else class_name

    def answer(self, probs: np.ndarray) -> np.ndarray:
        """Decide on one class; not for multilabel heads.

        Multiclass: the most probable class. Ordinal: the median, the class at which "this or
        better" becomes as likely as not; it is the rank rule of CORAL (Cao et al. 2020, eq. 1),
        and keeps a grade that is one of three neighbours from being called an extreme.

        Args:
            probs: (..., K), in class order.

        Returns:
            Class indices (...).
        """
        if self.kind == "ordinal":
            passed = (probs.cumsum(axis=-1) < 0.5).sum(axis=-1)
            return np.minimum(passed, probs.shape[-1] - 1)
        return probs.argmax(axis=-1)


Names = dict[str, dict[str, str]]
_NAMES = (
    "By language, what people read in place of the name of a head or class: {es: {trim: recortes}};"
    " others are shown as they are, with blanks for underscores"
)


class Taxonomy(BaseModel):
    """Every head, in order, checked as a whole.

    Raises:
        TaxonomyError: Lists every fault at once: duplicate heads or classes, heads without
            classes, unknown parents or circles of parents, `allowed` that names unknown classes,
            names for people of what is neither head nor class.
    """

    model_config = ConfigDict(extra="forbid")

    heads: list[Head]
    names: Names = Field(default={}, description=_NAMES)

    @model_validator(mode="after")
    def _check(self) -> Taxonomy:
        _refuse([*_taxonomy_faults(self.heads), *_name_faults(self)])
        return self

    def __getitem__(self, name: str) -> Head:
        for head in self.heads:
            if head.name == name:
                return head
        raise KeyError(name)

    def limits(self, head: Head) -> bool:
        """Whether the parent of a head is among these and forbids any of its classes, ever."""
        parents = [parent for parent in self.heads if parent.name == head.parent]
        if not parents or parents[0].kind == "multilabel":
            return False
        return any((head.allowed or {}).values())

    def allowed_pairs(self, head: Head) -> np.ndarray:
        """Which classes of a head go with which of its parent.

        Returns:
            bool (P, K); all where nothing is forbidden. A parent class that `allowed` does not name
            allows none.
        """
        assert head.parent is not None
        parents = self[head.parent].class_names
        if not self.limits(head):
            return np.ones((len(parents), len(head.classes)), bool)
        rules = head.allowed or {}
        return np.array([[c in rules.get(p, ()) for c in head.class_names] for p in parents])

    @property
    def columns(self) -> list[str]:
        """The label columns of all heads in a table of photos, in head order."""
        return [column for head in self.heads for column in head.columns]

    @property
    def sha256(self) -> str:
        """Hash of what models depend on: heads, kinds, classes and their order, parents.

        Descriptions may be reworded without making a new taxonomy.
        """
        essence = [
            [h.name, h.kind, h.class_names, h.parent, sorted((h.allowed or {}).items())]
            for h in self.heads
        ]
        return hashlib.sha256(json.dumps(essence, ensure_ascii=False).encode()).hexdigest()

    def encode(self, photos: pd.DataFrame) -> dict[str, np.ndarray]:
        """Turn label columns into arrays for a loss or a metric.

        Args:
            photos: One row per photo, with the label columns of this taxonomy.

        Returns:
            Per head: multiclass and ordinal, int64 (N,) class indices with `MISSING` where
            unknown; multilabel, float32 (N, K) of 0 and 1 with NaN where unknown.
        """
        import pandas as pd  # not there where models only answer

        encoded: dict[str, np.ndarray] = {}
        for head in self.heads:
            if head.kind == "multilabel":
                values = photos[head.columns].astype("Float32")
                encoded[head.name] = values.to_numpy(dtype=np.float32, na_value=np.nan)
            else:
                categories = pd.Categorical(photos[head.name], categories=head.class_names)
                encoded[head.name] = categories.codes.astype(np.int64)
        return encoded


class _WrittenClass(ClassSpec):
    """A class as written in configuration."""

    name: Name


_WrittenClasses = Annotated[list[_WrittenClass], BeforeValidator(_as_class_list)]


class HeadSpec(Head):
    """A head as written in configuration: its classes may be left to the labels found."""

    name: Name = Field(min_length=1)
    classes: _WrittenClasses | Literal["derived"] = "derived"  # type: ignore[assignment]
    parent: Name | None = None
    allowed: Annotated[dict[Name, list[Name]], NormalNames] | None = None


class TaxonomySpec(BaseModel):
    """A taxonomy as written in configuration, before any label was seen.

    Raises:
        TaxonomyError: As `Taxonomy`, for everything that is wrong without seeing a label.
    """

    model_config = ConfigDict(extra="forbid")

    heads: list[HeadSpec]
    names: Annotated[dict[str, Annotated[dict[Name, str], NormalNames]], NormalNames] = Field(
        default={}, description=_NAMES
    )

    @model_validator(mode="after")
    def _check(self) -> TaxonomySpec:
        faults = list(_taxonomy_faults(self.heads))
        faults += [
            f"head '{h.name}' is {h.kind}: write its classes, they cannot be derived from labels"
            for h in self.heads
            if h.classes == "derived" and h.kind != "multiclass"
        ]
        _refuse(faults)
        return self

    def resolve(self, photos: pd.DataFrame) -> Taxonomy:
        """Fill in what is `derived` from the labels that came with the photos.

        Derived classes are sorted by name. A derived head with a parent and no `allowed` takes
        the pairs that occur. Names for people of what is not there are left out: those of another
        taxonomy, which Kedro's environments add up.

        Args:
            photos: One row per photo, with a column per derived head.

        Raises:
            TaxonomyError: If a derived head has no label at all, or a single class.
        """
        heads, faults = [], []
        for spec in self.heads:
            fields = spec.model_dump()
            if spec.classes == "derived":
                names = _derived_classes(spec.name, photos)
                if len(names) < 2:
                    present = f"only '{names[0]}'" if names else "none"
                    faults.append(
                        f"head '{spec.name}' needs at least two classes, the labels have {present}"
                    )
                fields["classes"] = names
                there = {spec.name, spec.parent} <= set(photos.columns)
                if spec.parent and there and spec.allowed is None:
                    fields["allowed"] = _derived_pairs(spec.name, spec.parent, photos)
            heads.append(fields)
        if faults:
            raise TaxonomyError(
                _as_list("No taxonomy can be derived from these photos", faults)
                + "\nBring photos of the other classes, or write the classes in"
                " parameters_taxonomy.yml. If the outer of several folders name the classes"
                " (CLASS/2024/a.jpg), set class_folder: top in the source."
            )
        words = {h["name"] for h in heads}.union(*(_class_names(h["classes"]) for h in heads))
        shown = {
            language: {name: text for name, text in named.items() if name in words}
            for language, named in self.names.items()
        }
        return Taxonomy.model_validate({"heads": heads, "names": shown})


def check_labels(
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    where: str = "the labels",
    sources: pd.Series | None = None,
) -> None:
    """Refuse labels that the taxonomy does not know, and pairs that it does not allow.

    Args:
        photos: One row per photo, with a text column per head.
        taxonomy: The classes there are.
        where: What the error calls the place that the labels are from.
        sources: The name of each photo's source, same index; when there are several, the error
            counts a label per source.

    Raises:
        TaxonomyError: One error for all heads; each unknown label with its count of photos and
            the nearest class.
    """
    unknown = []
    for head in taxonomy.heads:
        if head.kind == "multilabel" or head.name not in photos:
            continue
        labels = photos[head.name].dropna()
        wrong = labels[~labels.isin(head.class_names)]
        unknown += [
            f"{head.name}: '{label}' ({photo_count(wrong.index[wrong == label], sources)}"
            f"{did_you_mean(label, head.class_names)})"
            for label, _ in Counter(wrong).most_common()
        ]
        unknown += _impossible_pairs(head, photos, sources)
    if unknown:
        raise TaxonomyError(
            _as_list(
                f"{_count(len(unknown), 'label')} in {where} "
                f"{'is' if len(unknown) == 1 else 'are'} not in the taxonomy",
                unknown,
            )
            + "\nMap them under the source's label_map or add them to parameters_taxonomy.yml."
        )


def _impossible_pairs(head: Head, photos: pd.DataFrame, sources: pd.Series | None) -> Iterable[str]:
    """Name labels that exist, but not for the class of the parent that the photo has."""
    excluded = photos[is_excluded(head, photos)]
    if excluded.empty:
        return
    for (above, label), wrong in excluded.groupby([head.parent, head.name]):
        yield (
            f"{head.name}: '{label}' where {head.parent} is '{above}' "
            f"({photo_count(wrong.index, sources)})"
        )


def is_excluded(head: Head, photos: pd.DataFrame) -> pd.Series:
    """Whether each photo has a class of `head` that its class of the parent does not allow.

    Args:
        head: A head, with a parent or without; a multilabel one excludes nothing.
        photos: One row per photo, with the label columns of the head and, if known, its parent.

    Returns:
        bool, with the index of `photos`; False where either is unknown.
    """
    import pandas as pd  # not there where models only answer

    excluded = pd.Series(False, index=photos.index)
    is_limited = head.kind != "multilabel" and head.parent in photos
    if not is_limited or not head.allowed or not any(head.allowed.values()):
        return excluded  # of pairs that nothing is known of, none is ruled out
    for above, allowed in head.allowed.items():
        ruled_out = set(head.class_names) - set(allowed)
        excluded |= (photos[head.parent] == above).fillna(False) & photos[head.name].isin(ruled_out)
    return excluded.astype(bool)


def normal_labels(labels: pd.Series) -> pd.Series:
    """A column of text with each label in the form in which labels are compared."""
    return labels.map({label: normal(str(label)) for label in labels.dropna().unique()})


def photo_count(photos: pd.Index, sources: pd.Series | None = None) -> str:
    """`12 photos`, or `12 photos: 9 of field, 3 of shop` when there are several sources.

    Args:
        photos: Labels of the rows that are meant, in the index of `sources`.
        sources: The name of each photo's source.
    """
    count = _count(len(photos), "photo")
    if sources is None or sources.nunique() < 2:
        return count
    counts = Counter(sources[photos]).most_common()
    if len(counts) == 1:
        return f"{count} of {counts[0][0]}"
    return f"{count}: {', '.join(f'{n:,} of {name}' for name, n in counts)}"


def did_you_mean(label: str, classes: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest class, or nothing where none is near."""
    by_folded = {at_a_glance(c): c for c in classes}
    folded = at_a_glance(str(label))
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=NEAREST_CUTOFF)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


def _refuse(faults: list[str]) -> None:
    if faults:
        raise TaxonomyError(_as_list(f"The taxonomy has {_count(len(faults), 'fault')}", faults))


def _taxonomy_faults(heads: list[Head] | list[HeadSpec]) -> Iterable[str]:
    if not heads:
        yield "it has no heads"
    by_name = {h.name: h for h in heads}
    for name, n in Counter(h.name for h in heads).items():
        if n > 1:
            yield f"head '{name}' is written {n} times"
    for head in heads:
        yield from _class_faults(head)
        yield from _parent_faults(head, by_name)


def _class_faults(head: Head) -> Iterable[str]:
    if head.classes == "derived":
        return
    if not head.classes:
        yield f"head '{head.name}' has no classes"
    elif head.kind != "multilabel" and len(head.classes) == 1:
        only = head.classes[0].name
        yield f"head '{head.name}' has the single class '{only}': nothing to predict"
    for name, n in Counter(head.class_names).items():
        if n > 1:
            yield f"head '{head.name}' has class '{name}' {n} times"
        if not name.strip():
            yield f"head '{head.name}' has a class without a name"


def _parent_faults(head: Head, by_name: dict[str, Any]) -> Iterable[str]:
    if head.parent is None:
        if head.allowed is not None:
            yield f"head '{head.name}' has `allowed` but no parent"
        return
    parent = by_name.get(head.parent)
    if parent is None:
        yield f"head '{head.name}' has the unknown parent '{head.parent}'"
        return
    if parent.kind == "multilabel":
        yield f"head '{head.name}' has the multilabel parent '{head.parent}': give it one of many"
    seen, above = {head.name}, parent
    while above is not None:
        if above.name in seen:
            yield f"head '{head.name}' is among its own parents"
            break
        seen.add(above.name)
        above = by_name.get(above.parent) if above.parent else None
    yield from _allowed_faults(head, parent)


def _allowed_faults(head: Head, parent: Head) -> Iterable[str]:
    for parent_class, children in (head.allowed or {}).items():
        if parent.classes != "derived" and parent_class not in parent.class_names:
            yield f"head '{head.name}' allows for '{parent_class}', no class of '{parent.name}'"
        if head.classes == "derived":
            continue
        for child in children:
            if child not in head.class_names:
                yield f"head '{head.name}' allows '{child}' for '{parent_class}': no such class"


def _class_names(classes: list[Any]) -> set[str]:
    return {c["name"] if isinstance(c, dict) else c for c in classes}


def _derived_classes(head: str, photos: pd.DataFrame) -> list[str]:
    return sorted(normal_labels(photos[head]).dropna().unique()) if head in photos else []


def _derived_pairs(head: str, parent: str, photos: pd.DataFrame) -> dict[str, list[str]]:
    pairs = photos[[parent, head]].drop_duplicates().apply(normal_labels).drop_duplicates()
    return {
        str(parent_class): sorted(group[head].dropna())
        for parent_class, group in pairs.groupby(parent, sort=True)
    }


def _name_faults(taxonomy: Taxonomy) -> Iterable[str]:
    known = {h.name for h in taxonomy.heads} | {c for h in taxonomy.heads for c in h.class_names}
    for language, names in taxonomy.names.items():
        for name in sorted(set(names) - known):
            yield (
                f"`names` has '{name}' in '{language}', no head or class{did_you_mean(name, known)}"
            )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _as_list(title: str, items: list[str]) -> str:
    return "\n  ".join([f"{title}:", *items])
