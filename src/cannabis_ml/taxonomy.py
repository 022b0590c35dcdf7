"""Heads, their classes, and which class implies which.

A taxonomy is data. It is written in `parameters_taxonomy.yml`, or parts of it are derived from
the labels that came with the photos. No class name stands in the code.

Labels travel in tables. A multiclass or ordinal head has one string column under its own name; a
multilabel head has one nullable Int8 column per class, named `head.class` (1 present, 0 absent).
A missing value means unknown: it costs no loss and counts in no metric.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.text import counted, did_you_mean, with_items

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["multiclass", "ordinal", "multilabel"]

MISSING = -1
"""Stands for an unknown label in encoded integer labels."""


class ClassSpec(BaseModel):
    """One class of a head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="As it stands in labels, metrics and exported models")
    about: str = Field(default="", description="What the eye sees")


def as_class_list(value: Any) -> Any:
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


ClassList = Annotated[list[ClassSpec], BeforeValidator(as_class_list)]


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
NAMES_ABOUT = (
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
    names: Names = Field(default={}, description=NAMES_ABOUT)

    @model_validator(mode="after")
    def _check(self) -> Taxonomy:
        refuse_faults([*taxonomy_faults(self.heads), *_name_faults(self)])
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


def refuse_faults(faults: list[str]) -> None:
    """Raise a TaxonomyError that lists all faults, if there are any."""
    if faults:
        title = f"The taxonomy has {counted(len(faults), 'fault')}"
        raise TaxonomyError(with_items(title, faults))


def taxonomy_faults(heads: Sequence[Head]) -> Iterable[str]:
    """Duplicate heads or classes, heads without classes, unknown parents, circles of parents.

    Args:
        heads: Of a taxonomy; `classes` of one as written in configuration may be `derived`.
    """
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


def _name_faults(taxonomy: Taxonomy) -> Iterable[str]:
    known = {h.name for h in taxonomy.heads} | {c for h in taxonomy.heads for c in h.class_names}
    for language, names in taxonomy.names.items():
        for name in sorted(set(names) - known):
            yield (
                f"`names` has '{name}' in '{language}', no head or class{did_you_mean(name, known)}"
            )
