"""The decision: from the outputs of a model to the classes of a photo, by one rule.

Scores, the checks of exported files, golden answers, training's own accuracy and clients all decide
here, so that none of them can have a threshold of its own.

Heads that imply each other are answered together. Read one by one, the best parent and the best
child may exclude each other. So the combination with the highest P(parent) P(child | parent) is
taken, over as many levels as there are. A head that neither limits another nor is limited answers
as `Head.answer` decides, and so does a child once its parent's answer is known. Attributes are
claimed from their thresholds on, where the answer of the parent allows them; they do not vote on
it.

Probabilities are calibrated before anything is compared with them, a child's for each class of its
parent: what is calibrated is decoded together again, so no calibrated pair of answers is
impossible.

All of it is computed in float64, whatever model files give: sums and logarithms in float32 differ
between processors, and clients in other languages have no float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from cannabis_ml.inference import calibrators
from cannabis_ml.inference.calibrators import Affine, Calibrator, Uncalibrated
from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

THRESHOLD = 0.5
"""An attribute is claimed from this probability on, unless another was chosen."""

SMALLEST = calibrators.SMALLEST

NamedAnswer = str | list[str] | None
"""A class; of a multilabel head the attributes that are there; None without an answer."""

FAINTEST_PARENT = 1e-12
"""Probabilities of a parent are held above this, so that a child has an answer even where every
parent that has children is out of the question."""


class DecisionRule(BaseModel):
    """What was chosen for a model's decisions; it travels with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: dict[str, dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]] = (
        Field(
            default_factory=dict,
            description="Per multilabel head and class, from which probability on it is decided to"
            f" be there; {THRESHOLD} where none is written. Calibrated, where `calibrators` has the"
            " head",
        )
    )
    calibrators: dict[str, Calibrator] = Field(
        default_factory=dict,
        description="Per head, what calibrates its probabilities before they are compared;"
        " where its parent limits it, its probabilities given each class of the parent",
    )

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Without `calibrators` where there are none: older clients read such rules."""
        fields = write(self)
        if not self.calibrators:
            fields.pop("calibrators", None)
        return fields

    def calibrated_by(self, chosen: Mapping[str, Calibrator], taxonomy: Taxonomy) -> DecisionRule:
        """The same rule with calibrators, and with its thresholds moved along.

        The thresholds of this rule are taken to be of uncalibrated probabilities. Which attributes
        are claimed stays the same, but for heads whose parent limits them: there it may change
        where the parent's calibrated probability differs.

        Args:
            chosen: By head; heads that are not named stay uncalibrated.
            taxonomy: Gives the classes.
        """
        thresholds = {name: dict(classes) for name, classes in self.thresholds.items()}
        for head in taxonomy.heads:
            one = chosen.get(head.name)
            if isinstance(one, Affine):
                before = Decision(taxonomy, self).thresholds(head)
                after = one.apply(before).tolist()
                thresholds[head.name] = dict(zip(head.class_names, after, strict=True))
        return DecisionRule(thresholds=thresholds, calibrators=dict(chosen))

    def faults(self, taxonomy: Taxonomy) -> Iterator[str]:
        """Thresholds and calibrators for heads and classes that a taxonomy does not have."""
        heads = {head.name: head for head in taxonomy.heads if head.kind == "multilabel"}
        for name, classes in self.thresholds.items():
            if name not in heads:
                yield f"thresholds are for '{name}', which is not a multilabel head"
                continue
            for unknown in sorted(set(classes) - set(heads[name].class_names)):
                yield f"a threshold is for '{unknown}', which is not a class of '{name}'"
        every = {head.name: head for head in taxonomy.heads}
        for name, calibrator in self.calibrators.items():
            if name not in every:
                yield f"a calibrator is for '{name}', which is not a head"
            else:
                yield from calibrator.faults(every[name])


class Decision:
    """Decides on the classes of photos, by one rule.

    Args:
        taxonomy: Gives the heads, their parents and what these allow.
        rule: Thresholds, `THRESHOLD` for what it does not name; and calibrators.
    """

    def __init__(self, taxonomy: Taxonomy, rule: DecisionRule | None = None) -> None:
        self.taxonomy = taxonomy
        self.rule = rule or DecisionRule()

    def thresholds(self, head: Head) -> np.ndarray:
        """Of one head, float64 (K,) in class order."""
        chosen = self.rule.thresholds.get(head.name, {})
        return np.array([chosen.get(name, THRESHOLD) for name in head.class_names])

    def of(self, heads: Collection[str]) -> Decision:
        """The same decision where only some heads are decided; a parent that is not limits none."""
        kept = [head for head in self.taxonomy.heads if head.name in heads]
        return Decision(Taxonomy.model_construct(heads=kept), self.rule)

    def decide(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Decide on every head, so that no answer contradicts its parent's.

        Args:
            outputs: Per head (N, K) probabilities as the model gives them, not calibrated yet;
                under the name of a head and `GIVEN`, where it is there, (N, P, K), see
                `joint_answer`. Others are left alone.

        Returns:
            Per head in the taxonomy's order: multiclass and ordinal, class indices, int64 (N,),
            `MISSING` where the answer of the parent allows none; multilabel, bool (N, K), which
            attributes are there.
        """
        outputs = self.calibrated(outputs)
        given = {n.removesuffix(GIVEN): v for n, v in outputs.items() if n.endswith(GIVEN)}
        decided = joint_answer(outputs, self.taxonomy, given)
        for head in self.taxonomy.heads:
            if head.kind == "multilabel":
                present = np.asarray(outputs[head.name]) >= self.thresholds(head)
                decided[head.name] = present & self.possible(head, decided, len(present))
        return {head.name: decided[head.name] for head in self.taxonomy.heads}

    def calibrated(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Apply the calibrators of the rule.

        Args:
            outputs: As for `decide`.

        Returns:
            All outputs. Of heads that have a calibrator, or whose parent has one, the
            probabilities and those given the parent are float64 and calibrated; probabilities of
            a head that its parent limits are again the marginals of both. Others are as they were.
        """
        calibrated = dict(outputs)
        changed = {
            name for name, one in self.rule.calibrators.items() if not isinstance(one, Uncalibrated)
        }
        waiting = [head for head in self.taxonomy.heads if changed]
        while waiting:
            held = {head.name for head in waiting}
            for head in [head for head in waiting if head.parent not in held]:
                if self.taxonomy.limits(head):
                    if {head.name, head.parent} & changed:
                        self._calibrate_child(head, outputs, calibrated)
                        changed.add(head.name)  # its marginals, which its children rest on
                elif head.name in changed:
                    calibrated[head.name] = self.rule.calibrators[head.name].apply(
                        outputs[head.name]
                    )
                waiting.remove(head)
        return calibrated

    def _calibrate_child(
        self, head: Head, outputs: Mapping[str, np.ndarray], calibrated: dict[str, np.ndarray]
    ) -> None:
        assert head.parent is not None
        allowed = self.taxonomy.allowed_pairs(head)
        calibrator = self.rule.calibrators.get(head.name, Uncalibrated())
        parent = np.asarray(calibrated[head.parent], np.float64)
        if head.kind == "multilabel":
            before = np.asarray(outputs[head.parent], np.float64) @ allowed
            after = parent @ allowed
            own = given_possible(outputs[head.name], before)
            calibrated[head.name] = calibrator.apply(own) * np.minimum(after, 1.0)
            return
        table = given_each_parent(outputs, head, allowed)
        table = calibrator.apply(table, allowed)
        calibrated[head.name + GIVEN] = table
        mass = np.einsum("np,npk->nk", np.maximum(parent, FAINTEST_PARENT), table)
        calibrated[head.name] = mass / np.maximum(mass.sum(axis=1, keepdims=True), SMALLEST)

    def possible(self, head: Head, decided: Mapping[str, np.ndarray], photos: int) -> np.ndarray:
        """Classes of a head that the answers of its parent allow.

        Args:
            head: One of the taxonomy's.
            decided: By head, as from `decide`.
            photos: N.

        Returns:
            bool (N, K); none where the parent has no answer.
        """
        if not self.taxonomy.limits(head):
            return np.ones((photos, len(head.classes)), bool)
        assert head.parent is not None
        parent = decided[head.parent]
        return self.taxonomy.allowed_pairs(head)[parent] & (parent != MISSING)[:, None]

    def named(self, outputs: Mapping[str, np.ndarray]) -> dict[str, list[NamedAnswer]]:
        """As `decide`, in class names.

        Returns:
            Per head one entry per photo: the class, or None where there is none; of a multilabel
            head the list of classes that are there.
        """
        return self.names_of(self.decide(outputs))

    def names_of(self, decided: Mapping[str, np.ndarray]) -> dict[str, list[NamedAnswer]]:
        """Class names of what `decide` gives, as from `named`."""
        names_by_head: dict[str, list[NamedAnswer]] = {}
        for name, classes in decided.items():
            names = self.taxonomy[name].class_names
            if classes.ndim == 2:
                names_by_head[name] = [[names[k] for k in np.flatnonzero(row)] for row in classes]
            else:
                names_by_head[name] = [None if k == MISSING else names[k] for k in classes]
        return names_by_head


def joint_answer(
    probs: Mapping[str, np.ndarray],
    taxonomy: Taxonomy,
    given: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Decide on one class of every head, so that no answer contradicts another.

    Args:
        probs: Per head (N, K) probabilities.
        taxonomy: Gives the heads, their parents and what these allow.
        given: Per head with a parent that limits it, (N, P, K): its probabilities for each class
            of the parent, 0 where not allowed. Heads that are not there are taken from `probs`,
            which comes to the same unless two parent classes share a child.

    Returns:
        Per multiclass and ordinal head class indices, int64 (N,), `MISSING` where the answer of
        its parent allows none.
    """
    heads = [head for head in taxonomy.heads if head.kind != "multilabel"]
    limited = {h.name: taxonomy.allowed_pairs(h) for h in heads if taxonomy.limits(h)}
    tables = {
        name: _conditional(probs[name], allowed, (given or {}).get(name))
        for name, allowed in limited.items()
    }
    votes: dict[str, np.ndarray] = {}
    decided: dict[str, np.ndarray] = {}

    def children(head: Head) -> list[Head]:
        return [child for child in heads if child.name in limited and child.parent == head.name]

    def gather(head: Head) -> None:
        """What the best answers below each class of a head add to its log probability."""
        for child in children(head):
            gather(child)
            scores = np.log(np.maximum(tables[child.name], SMALLEST))
            if child.name in votes:
                scores = scores + votes[child.name][:, None]
            allowed = limited[child.name]
            best = np.where(allowed, scores, -np.inf).max(axis=2)
            best = np.where(allowed.any(axis=1), best, 0.0)
            votes[head.name] = votes.get(head.name, 0.0) + best

    def decide(head: Head, own: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        if head.name not in votes:
            return head.answer(own)
        scores = np.log(np.maximum(own, SMALLEST)) + votes[head.name]
        return np.where(allowed, scores, -np.inf).argmax(axis=1)

    def descend(head: Head) -> None:
        for child in children(head):
            parent = decided[head.name]
            every = np.arange(len(parent))
            allowed = limited[child.name][parent]
            best = decide_in_rows(child, tables[child.name][every, parent], allowed, every)
            none = ~allowed.any(axis=1) | (parent == MISSING)
            decided[child.name] = np.where(none, MISSING, best)
            descend(child)

    def decide_in_rows(
        head: Head, own: np.ndarray, allowed: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        best = decide(head, own, allowed)
        # The median of an ordinal head whose probability is all but gone may stand on nothing.
        stray = ~allowed[rows, best]
        return np.where(stray, np.where(allowed, own, -1.0).argmax(axis=1), best)

    for head in heads:
        if head.name not in limited:
            gather(head)
            own = np.asarray(probs[head.name], np.float64)
            decided[head.name] = decide(head, own, np.ones(own.shape, bool)).astype(np.int64)
            descend(head)
    return decided


def given_each_parent(
    outputs: Mapping[str, np.ndarray], head: Head, allowed: np.ndarray
) -> np.ndarray:
    """Probabilities of a head for each class of the parent that limits it.

    Args:
        outputs: As for `Decision.decide`; without an output of the head and `GIVEN` they follow
            from its probabilities.
        head: Multiclass or ordinal.
        allowed: As from `Taxonomy.allowed_pairs`.

    Returns:
        (N, P, K), 0 where not allowed; rows that allow anything sum to 1.
    """
    return _conditional(outputs[head.name], allowed, outputs.get(head.name + GIVEN))


def given_possible(probs: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Probabilities of attributes given that the parent allows them, each in [0, 1].

    Args:
        probs: (N, K) of the attributes.
        possible: (N, K), how probable it is that the parent's class allows each.
    """
    return np.clip(np.asarray(probs, np.float64) / np.maximum(possible, SMALLEST), 0.0, 1.0)


def _conditional(probs: np.ndarray, allowed: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(N, P, K), rows that allow anything sum to 1."""
    if given is not None:
        return np.asarray(given, np.float64)
    table = np.maximum(np.asarray(probs, np.float64), SMALLEST)[:, None] * allowed
    return table / np.maximum(table.sum(axis=2, keepdims=True), SMALLEST)
