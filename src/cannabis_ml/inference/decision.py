"""From what a model gives to what is said of a photo: one decision, whoever asks for it.

Scores, the checks of exported files, golden answers, training's own accuracy and clients all decide
here; what is not said here, such as a threshold, cannot differ between them.

Heads that imply each other are answered together. Read one by one, the best parent and the best
child may exclude each other. So the combination with the highest P(parent) P(child | parent) is
taken, over as many levels as there are. A head that neither limits another nor is limited answers
as `Head.answer` decides, and so does a child once its parent's answer is known. Attributes are
claimed from their thresholds on, where the answer of the parent allows them; they do not vote on
it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

GIVEN = ".given"
"""Ends the name of the output with a head's probabilities for each class of its parent."""

THRESHOLD = 0.5
"""An attribute is claimed from this probability on, unless another was chosen."""

SMALLEST = 1e-30
"""Probabilities are held above this before their logarithm is taken: what is improbable stays
apart from what is forbidden."""


class DecisionRule(BaseModel):
    """What was chosen for a model's decisions; it travels with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: dict[str, dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]] = (
        Field(
            default_factory=dict,
            description="Per multilabel head and class, the probability from which on it is said to"
            f" be there; {THRESHOLD} where none is written",
        )
    )

    def faults(self, taxonomy: Taxonomy) -> Iterator[str]:
        """What the rule says of heads and classes that a taxonomy does not have."""
        heads = {head.name: head for head in taxonomy.heads if head.kind == "multilabel"}
        for name, classes in self.thresholds.items():
            if name not in heads:
                yield f"thresholds are for '{name}', which is not a multilabel head"
                continue
            for unknown in sorted(set(classes) - set(heads[name].class_names)):
                yield f"a threshold is for '{unknown}', which is not a class of '{name}'"


class Decision:
    """What is said of photos, by one rule.

    Args:
        taxonomy: Gives the heads, their parents and what these allow.
        rule: Thresholds; `THRESHOLD` for what it does not name.
    """

    def __init__(self, taxonomy: Taxonomy, rule: DecisionRule | None = None) -> None:
        self.taxonomy = taxonomy
        self.rule = rule or DecisionRule()

    def thresholds(self, head: Head) -> np.ndarray:
        """Of one head, float64 (K,) in class order."""
        chosen = self.rule.thresholds.get(head.name, {})
        return np.array([chosen.get(name, THRESHOLD) for name in head.class_names])

    def of(self, heads: Collection[str]) -> Decision:
        """The same decision where only some heads were asked; a parent that was not limits none."""
        kept = [head for head in self.taxonomy.heads if head.name in heads]
        return Decision(Taxonomy.model_construct(heads=kept), self.rule)

    def decide(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Decide on every head, so that no answer contradicts its parent's.

        Args:
            outputs: Per head (N, K) probabilities; under the name of a head and `GIVEN`, where it
                is there, (N, P, K), see `joint_answer`. Others are left alone.

        Returns:
            Per head in the taxonomy's order: multiclass and ordinal, class indices, int64 (N,),
            `MISSING` where the answer of the parent allows none; multilabel, bool (N, K), which
            attributes are there.
        """
        given = {n.removesuffix(GIVEN): v for n, v in outputs.items() if n.endswith(GIVEN)}
        said = joint_answer(outputs, self.taxonomy, given)
        for head in self.taxonomy.heads:
            if head.kind == "multilabel":
                claimed = np.asarray(outputs[head.name]) >= self.thresholds(head)
                said[head.name] = claimed & self.possible(head, said, len(claimed))
        return {head.name: said[head.name] for head in self.taxonomy.heads}

    def possible(self, head: Head, said: Mapping[str, np.ndarray], photos: int) -> np.ndarray:
        """Classes of a head that the answers of its parent allow.

        Args:
            head: One of the taxonomy's.
            said: Answers by head, as from `decide`.
            photos: N.

        Returns:
            bool (N, K); none where the parent has no answer.
        """
        if not self.taxonomy.limits(head):
            return np.ones((photos, len(head.classes)), bool)
        assert head.parent is not None
        parent = said[head.parent]
        return self.taxonomy.allowed_pairs(head)[parent] & (parent != MISSING)[:, None]

    def named(self, outputs: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        """As `decide`, in class names.

        Returns:
            Per head one entry per photo: the class, or None where there is none; of a multilabel
            head the list of classes that are there.
        """
        found: dict[str, list[Any]] = {}
        for name, said in self.decide(outputs).items():
            names = self.taxonomy[name].class_names
            if said.ndim == 2:
                found[name] = [[names[k] for k in np.flatnonzero(row)] for row in said]
            else:
                found[name] = [None if k == MISSING else names[k] for k in said]
        return found


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
    said: dict[str, np.ndarray] = {}

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
            parent = said[head.name]
            every = np.arange(len(parent))
            allowed = limited[child.name][parent]
            found = decide_in_rows(child, tables[child.name][every, parent], allowed, every)
            none = ~allowed.any(axis=1) | (parent == MISSING)
            said[child.name] = np.where(none, MISSING, found)
            descend(child)

    def decide_in_rows(
        head: Head, own: np.ndarray, allowed: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        found = decide(head, own, allowed)
        # The median of an ordinal head whose probability is all but gone may stand on nothing.
        stray = ~allowed[rows, found]
        return np.where(stray, np.where(allowed, own, -1.0).argmax(axis=1), found)

    for head in heads:
        if head.name not in limited:
            gather(head)
            own = np.asarray(probs[head.name])
            said[head.name] = decide(head, own, np.ones(own.shape, bool)).astype(np.int64)
            descend(head)
    return said


def _conditional(probs: np.ndarray, allowed: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(N, P, K), rows that allow anything sum to 1."""
    if given is not None:
        return np.asarray(given, np.float64)
    table = np.maximum(probs, SMALLEST)[:, None] * allowed
    return table / np.maximum(table.sum(axis=2, keepdims=True), SMALLEST)
