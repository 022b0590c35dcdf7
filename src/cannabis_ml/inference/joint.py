"""What to say of a photo when heads imply each other: one set of answers that can be true together.

Read one by one, the best parent and the best child may exclude each other. So the combination with
the highest P(parent) P(child | parent) is taken, over as many levels as there are. A head that
neither limits another nor is limited answers as `Head.answer` decides, and so does a child once its
parent's answer is known. Multilabel heads are limited by their parents, but do not vote on them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

GIVEN = ".given"
"""Ends the name of the output with a head's probabilities for each class of its parent."""

SMALLEST = 1e-30
"""Probabilities are held above this before their logarithm is taken: what is improbable stays
apart from what is forbidden."""


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
    limited = {h.name: allowed_pairs(h, taxonomy) for h in heads if limits(h, taxonomy)}
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


def limits(head: Head, taxonomy: Taxonomy) -> bool:
    """Whether the parent of a head forbids any of its classes, ever."""
    if head.parent is None or taxonomy[head.parent].kind == "multilabel":
        return False
    return any((head.allowed or {}).values())


def allowed_pairs(head: Head, taxonomy: Taxonomy) -> np.ndarray:
    """Which classes of `head` go with which of its parent, bool (P, K); all without `allowed`."""
    assert head.parent is not None
    parents = taxonomy[head.parent].class_names
    if not limits(head, taxonomy):
        return np.ones((len(parents), len(head.classes)), bool)
    rules = head.allowed or {}
    return np.array([[c in rules.get(p, ()) for c in head.class_names] for p in parents])


def _conditional(probs: np.ndarray, allowed: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(N, P, K), rows that allow anything sum to 1."""
    if given is not None:
        return np.asarray(given, np.float64)
    table = np.maximum(probs, SMALLEST)[:, None] * allowed
    return table / np.maximum(table.sum(axis=2, keepdims=True), SMALLEST)
