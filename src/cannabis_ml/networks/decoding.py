"""From logits to probabilities: ensembles averaged, heads decoded jointly with their parents.

A head has M members (an ensemble) with logits (N, M, C), where C = K, or K - 1 of an ordinal head;
(N, M, P, C) of a head with experts, which has logits for each class of its parent.
Members are averaged as probabilities. A head with a parent is decoded jointly with it:

    P(child) = sum over p of P(p) P(child | p)

where P(child | p) has mass on the classes that `allowed` gives for p and nowhere else. A parent
class that allows no child passes its mass to none; what is left is made to sum to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cannabis_ml.inference.decision import FAINTEST_PARENT, SMALLEST
from cannabis_ml.taxonomy import Head, Taxonomy

IMPOSSIBLE = -1e9
"""Used for log 0, as an infinity would turn gradients into NaN."""

_GAP = 1e-6


def marginals(logits: dict[str, Tensor], taxonomy: Taxonomy) -> dict[str, Tensor]:
    """Probabilities of every head: marginals of the joint distribution with its parent.

    Args:
        logits: Per head (N, M, C).
        taxonomy: Gives the heads.

    Returns:
        Per head (N, K) in class order, the mean over members. Multiclass and ordinal: rows sum to
        1. Multilabel: each in [0, 1].
    """
    members = member_probabilities(logits, taxonomy)
    return {name: probs.mean(dim=1) for name, probs in members.items()}


def member_probabilities(logits: dict[str, Tensor], taxonomy: Taxonomy) -> dict[str, Tensor]:
    """Probabilities of every member of every head, given the mean over members of the parent.

    Args:
        logits: Per head (N, M, C).
        taxonomy: Gives the heads.

    Returns:
        Per head, in the taxonomy's order, (N, M, K); the mean over members is `marginals`.
    """
    probs: dict[str, Tensor] = {}
    for head in parents_first(taxonomy):
        allowed = allowed_classes(taxonomy, head, logits[head.name].device)
        if allowed is None:
            probs[head.name] = probabilities(head, logits[head.name])
            continue
        assert head.parent is not None
        parent = probs[head.parent].mean(dim=1)
        given = conditional_probabilities(head, logits[head.name], allowed)
        if head.kind == "multilabel":
            probs[head.name] = (parent[:, None, None] @ given).squeeze(2)
            continue
        # Rows sum to 1 even where all parents that have children have a probability of 0.
        parent = parent.clamp(min=FAINTEST_PARENT)
        mass = (parent[:, None, None] @ given).squeeze(2)
        probs[head.name] = mass / mass.sum(dim=2, keepdim=True)
    return {head.name: probs[head.name] for head in taxonomy.heads}


class Uncertainty(NamedTuple):
    """Entropy of the ensemble's answer in two parts, each (N,) in nats.

    Attributes:
        aleatoric: Mean of the members' entropies: what no further photo could teach.
        epistemic: Mutual information between the prediction and the ensemble member, 0 or more:
            what further photos could teach.
    """

    aleatoric: Tensor
    epistemic: Tensor


def uncertainty(logits: dict[str, Tensor], taxonomy: Taxonomy) -> dict[str, Uncertainty]:
    """Aleatoric and epistemic uncertainty (Depeweg et al. 2018, eq. 4).

    Entropy of the mean = mean of the entropies + mutual information.

    Args:
        logits: Per head (N, M, C).
        taxonomy: Gives the heads.

    Returns:
        Per head; multilabel: the mean over attributes. With a single member all of it counts as
        aleatoric, and the epistemic part is 0.
    """
    return uncertainty_of_members(member_probabilities(logits, taxonomy), taxonomy)


def uncertainty_of_members(
    members: dict[str, Tensor], taxonomy: Taxonomy
) -> dict[str, Uncertainty]:
    """`uncertainty` from the probabilities of members, (N, M, K)."""
    by_head = {}
    for head in taxonomy.heads:
        probs = members[head.name]
        together = torch.cat([probs, probs.mean(dim=1, keepdim=True)], dim=1)
        entropies = _entropy(head, together)
        aleatoric = entropies[:, :-1].mean(dim=1)
        gain = (entropies[:, -1] - aleatoric).clamp(min=0)
        epistemic = gain if probs.shape[1] > 1 else torch.zeros_like(gain)
        by_head[head.name] = Uncertainty(aleatoric, epistemic)
    return by_head


def given_parents(logits: dict[str, Tensor], taxonomy: Taxonomy) -> dict[str, Tensor]:
    """P(child | parent) of every head that its parent limits.

    Marginals alone do not give a most probable combination; with these
    `cannabis_ml.inference.decision` finds it.

    Args:
        logits: Per head (N, M, C).
        taxonomy: Gives the heads.

    Returns:
        Per multiclass and ordinal head with such a parent, (N, P, K), mean over members.
    """
    tables = {}
    for head in (head for head in taxonomy.heads if head.name in logits):
        allowed = allowed_classes(taxonomy, head, logits[head.name].device)
        if allowed is not None and head.kind != "multilabel":
            members = conditional_probabilities(head, logits[head.name], allowed)
            tables[head.name] = members.mean(dim=1)
    return tables


def probabilities(head: Head, logits: Tensor) -> Tensor:
    """Probabilities of one head by itself, without its parent.

    Args:
        head: Its kind decides.
        logits: (..., C).

    Returns:
        (..., K) in class order. Multiclass and ordinal: rows sum to 1. Multilabel: each in [0, 1].
    """
    if head.kind == "multiclass":
        return logits.softmax(dim=-1)
    if head.kind == "multilabel":
        return logits.sigmoid()
    worse = logits.sigmoid()  # P(y > k), falling with k
    certain = torch.ones_like(worse[..., :1])
    return torch.cat([certain, worse], dim=-1) - torch.cat([worse, 0 * certain], dim=-1)


def log_probabilities(head: Head, logits: Tensor) -> Tensor:
    """Logarithm of `probabilities` of a multiclass or ordinal head, exact for tiny ones too."""
    if head.kind == "multiclass":
        return logits.log_softmax(dim=-1)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), with a >= b
    worse, better = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    gaps = (logits[..., :-1] - logits[..., 1:]).clamp(min=_GAP)
    between = worse[..., :-1] + better[..., 1:] + torch.log(-torch.expm1(-gaps))
    return torch.cat([better[..., :1], between, worse[..., -1:]], dim=-1)


def conditional_probabilities(head: Head, logits: Tensor, allowed: Tensor) -> Tensor:
    """Probabilities of a child for each class of its parent.

    Args:
        head: The child.
        logits: (N, M, C); or (N, M, P, C) where each class of the parent has its own.
        allowed: bool (P, K).

    Returns:
        (N, M, P, K), exactly 0 where not allowed. Multiclass and ordinal: what is allowed sums to
        1, and rows of parents that allow nothing are 0.
    """
    shared = logits.ndim == 3
    if head.kind == "multilabel":
        given = logits.sigmoid()
        return (given[:, :, None] if shared else given) * allowed
    scores = log_probabilities(head, logits)
    scores = scores[:, :, None] if shared else scores
    return torch.where(allowed, scores, IMPOSSIBLE).softmax(dim=-1) * allowed


def allowed_classes(
    taxonomy: Taxonomy, head: Head, device: torch.device | str | None = None
) -> Tensor | None:
    """Which class of a head each class of its parent allows.

    Returns:
        bool (P, K), or None where nothing is forbidden. A parent class that `allowed` does not
        name allows none.
    """
    if not taxonomy.limits(head):
        return None
    return torch.from_numpy(taxonomy.allowed_pairs(head)).to(device)


def parents_first(taxonomy: Taxonomy) -> Iterator[Head]:
    """The heads, each after its parent."""
    waiting = list(taxonomy.heads)
    done: set[str] = set()
    while waiting:
        ready = [head for head in waiting if head.parent is None or head.parent in done]
        yield from ready
        done.update(head.name for head in ready)
        waiting = [head for head in waiting if head.name not in done]


def _entropy(head: Head, probs: Tensor) -> Tensor:
    """(..., K) -> (...) in nats; multilabel: mean of the attributes' own."""
    surprise = _surprise(probs)
    if head.kind != "multilabel":
        return surprise.sum(dim=-1)
    return (surprise + _surprise(1 - probs)).mean(dim=-1)


def _surprise(probs: Tensor) -> Tensor:
    # Not torch.xlogy, which is nine operators in a model file.
    return -probs * probs.clamp(min=SMALLEST).log()
