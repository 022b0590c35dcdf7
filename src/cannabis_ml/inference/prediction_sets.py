"""Prediction sets: the classes that are still possible, and hold the truth as often as promised.

`cannabis_ml.calibration.conformal` fits the limits. A class is in the set where its nonconformity
is at most its limit, and so is the answer itself. Sets of ordinal heads are contiguous. Sets of
heads that imply each other are consistent: each class of a set goes with a class of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.taxonomy import MISSING, Head, Kind, Taxonomy

SetMethod = Literal["pooled", "clustered", "classwise"]

NamedSet = list[str] | dict[str, list[str]]
"""Classes that are possible; of a multilabel head `present`, `absent` and `unsure`."""

ABSENT, PRESENT = 0, 1
"""Places of the two states of an attribute in a set."""

Limit = Annotated[float, Field(allow_inf_nan=False)] | None
"""Largest nonconformity that is in; None for infinity, which lets everything in."""


class HeadSets(BaseModel):
    """Limits of one head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    alpha: float = Field(gt=0, lt=1, description="How often the truth may be outside")
    method: SetMethod = "pooled"
    limits: list[Limit] = Field(
        description="Per class; of a multilabel head of `present`, per attribute"
    )
    absent_limits: list[Limit] = Field(
        default_factory=list, description="Of a multilabel head of `absent`, per attribute"
    )
    groups: list[int] = Field(description="Groups of photos that each of `limits` rests on")
    absent_groups: list[int] = Field(default_factory=list)

    def array(self) -> np.ndarray:
        """Limits as float64, infinite where there is none: (K,), or (K, 2) of a multilabel head."""
        if self.kind == "multilabel":
            return np.stack([_floats(self.absent_limits), _floats(self.limits)], axis=1)
        return _floats(self.limits)

    def infinite(self, classes: list[str]) -> list[str]:
        """Names of classes that are in every set, for want of photos."""
        limits = self.array().reshape(len(classes), -1)
        return [name for name, row in zip(classes, limits, strict=True) if np.isinf(row).any()]


class PredictionSets(BaseModel):
    """What makes prediction sets of one model's calibrated outputs; it travels with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: dict[str, HeadSets]

    def apply(
        self,
        outputs: Mapping[str, np.ndarray],
        decided: Mapping[str, np.ndarray],
        taxonomy: Taxonomy,
    ) -> dict[str, np.ndarray]:
        """Which classes are still possible.

        Args:
            outputs: Calibrated, as from `Decision.calibrated`: per head (N, K) probabilities and,
                where its parent limits it, `{head}.given`.
            decided: As from `Decision.decide`.
            taxonomy: Gives the heads.

        Returns:
            Per head that has limits: bool (N, K); of a multilabel head bool (N, K, 2), whether the
            attribute may be absent, and whether it may be present. Each answer is in its set.
        """
        sets = {
            head.name: _own_sets(
                head, outputs[head.name], decided[head.name], self.heads[head.name].array()
            )
            for head in taxonomy.heads
            if head.name in self.heads
        }
        return consistent(sets, outputs, taxonomy)


def nonconformity(head: Head, probs: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """How badly each class fits a photo.

    Multiclass: 1 - P(class) (Sadinle, Lei & Wasserman 2019). Multilabel: the same for absent and
    present. Ordinal: the probability of what lies nearer to the answer, where an interval grows
    from the answer to the more probable neighbor (after Lu, Angelopoulos & Pomerantz 2022); 0 for
    the answer itself. Sets of it are contiguous.

    Args:
        head: Its kind decides.
        probs: Calibrated, (N, K).
        decided: Class indices, int64 (N,); `MISSING` counts as the most probable. Not read for
            multilabel heads.

    Returns:
        float64 in [0, 1], (N, K), or (N, K, 2) of a multilabel head.
    """
    probs = np.asarray(probs, np.float64)
    if head.kind == "multilabel":
        return np.stack([probs, 1 - probs], axis=2)
    if head.kind == "multiclass":
        return 1 - probs
    start = np.where(decided == MISSING, probs.argmax(axis=1), decided)
    return _mass_nearer(probs, start)


def _mass_nearer(probs: np.ndarray, start: np.ndarray) -> np.ndarray:
    n, classes = probs.shape
    every = np.arange(n)
    padded = np.pad(probs, ((0, 0), (1, 1)), constant_values=-1.0)  # never the better neighbor
    low, high = start.copy(), start.copy()
    mass = probs[every, start].copy()
    nearer = np.zeros((n, classes))
    for _ in range(classes - 1):
        down = padded[every, low] >= padded[every, high + 2]
        added = np.where(down, low - 1, high + 1)
        nearer[every, added] = np.minimum(mass, 1.0)
        mass = mass + probs[every, added]
        low, high = np.where(down, added, low), np.where(down, high, added)
    return nearer


def consistent(
    sets: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> dict[str, np.ndarray]:
    """Extend sets until each class goes with a class of the parent's set, and of the child's.

    A class is only ever added, the most probable that fits, so that no set loses the truth. But an
    attribute that no parent of the set allows is absent; that is wrong only where the parent's
    set is.

    Args:
        sets: Per head bool (N, K), or (N, K, 2).
        outputs: As for `PredictionSets.apply`.
        taxonomy: Gives the heads; those without a set are left out.
    """
    extended = {name: values.copy() for name, values in sets.items()}
    pairs = [
        head
        for head in _parents_first(taxonomy)
        if head.name in sets and taxonomy.limits(head) and head.parent in sets
    ]
    single = [head for head in pairs if head.kind != "multilabel"]
    for head in reversed(single):
        assert head.parent is not None
        _add_parents(extended, head, taxonomy.allowed_pairs(head), outputs[head.parent])
    for head in single:
        _add_children(extended, head, taxonomy.allowed_pairs(head), outputs)
    for head in pairs:
        if head.kind == "multilabel":
            assert head.parent is not None
            possible = extended[head.parent] @ taxonomy.allowed_pairs(head)
            extended[head.name][..., PRESENT] &= possible
            extended[head.name][..., ABSENT] |= ~possible
    return extended


def named(sets: Mapping[str, np.ndarray], taxonomy: Taxonomy, row: int = 0) -> dict[str, NamedSet]:
    """The sets of one photo in class names.

    Args:
        sets: As from `PredictionSets.apply`.
        taxonomy: Gives the classes.
        row: Which photo.

    Returns:
        Per head the list of classes; of a multilabel head `present`, `absent` and `unsure`, each a
        list of attributes.
    """
    names_by_head: dict[str, NamedSet] = {}
    for name, values in sets.items():
        names, one = taxonomy[name].class_names, values[row]
        if one.ndim == 1:
            names_by_head[name] = [c for c, is_in in zip(names, one, strict=True) if is_in]
            continue
        states = {"present": ~one[:, ABSENT], "absent": ~one[:, PRESENT], "unsure": one.all(axis=1)}
        names_by_head[name] = {
            state: [c for c, holds in zip(names, which, strict=True) if holds]
            for state, which in states.items()
        }
    return names_by_head


def _own_sets(head: Head, probs: np.ndarray, decided: np.ndarray, limits: np.ndarray) -> np.ndarray:
    inside = nonconformity(head, probs, decided) <= limits
    if head.kind == "multilabel":
        inside[..., PRESENT] |= decided
        inside[..., ABSENT] |= ~decided
        return inside
    answered = np.flatnonzero(decided != MISSING)
    inside[answered, decided[answered]] = True
    if head.kind == "ordinal":  # limits may differ between classes
        return _filled(inside, np.ones_like(inside))
    return inside


def _add_parents(
    sets: dict[str, np.ndarray], head: Head, allowed: np.ndarray, parent_probs: np.ndarray
) -> None:
    """Give each class the most probable parent that allows it, where the set holds none."""
    assert head.parent is not None
    own, parents = sets[head.name], sets[head.parent]
    own &= allowed.any(axis=0)
    rows, classes = np.nonzero(own & ~(parents @ allowed))
    best = np.where(allowed[:, classes].T, parent_probs[rows], -1.0).argmax(axis=1)
    parents[rows, best] = True


def _add_children(
    sets: dict[str, np.ndarray], head: Head, allowed: np.ndarray, outputs: Mapping[str, np.ndarray]
) -> None:
    """Give each parent its most probable child, where it may have one and the set holds none."""
    assert head.parent is not None
    own, parents = sets[head.name], sets[head.parent]
    rows, which = np.nonzero(parents & ~(own @ allowed.T) & allowed.any(axis=1))
    given = outputs.get(head.name + GIVEN)
    likely = outputs[head.name][rows] if given is None else np.asarray(given)[rows, which]
    own[rows, np.where(allowed[which], likely, -1.0).argmax(axis=1)] = True
    if head.kind == "ordinal":
        sets[head.name] = _filled(own, parents @ allowed)


def _filled(inside: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Sets with all possible classes between their ends."""
    from_low = np.logical_or.accumulate(inside, axis=1)
    from_high = np.logical_or.accumulate(inside[:, ::-1], axis=1)[:, ::-1]
    return inside | (from_low & from_high & possible)


def _parents_first(taxonomy: Taxonomy) -> list[Head]:
    waiting, ordered = list(taxonomy.heads), []
    while waiting:
        held = {head.name for head in waiting}
        ready = [head for head in waiting if head.parent not in held]
        ordered += ready
        waiting = [head for head in waiting if head not in ready]
    return ordered


def _floats(limits: list[Limit]) -> np.ndarray:
    return np.array([np.inf if limit is None else limit for limit in limits], np.float64)
