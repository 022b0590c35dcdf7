"""Loss of hierarchical heads: a weighted sum over heads, each a mean over known labels.

| head | loss of one photo |
|---|---|
| multiclass | cross-entropy, with label smoothing |
| ordinal | sum of binary cross-entropies of "worse than class k" (CORAL, Cao et al. 2020, eq. 4) |
| multilabel | binary cross-entropy of each known attribute, or asymmetric (Ridnik et al. 2021) |

Each is the mean over the members of the head. Missing labels are masked: without any label in the
batch a head's loss is exactly zero, and it gets no gradient.

A child head is trained given its parent's true class (teacher forcing), among the classes that
this class allows; among all where the parent's label is missing. A child's label that the
parent's label forbids is a contradiction, and masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cannabis_ml.inference.decision import SMALLEST
from cannabis_ml.networks.decoding import (
    IMPOSSIBLE,
    allowed_classes,
    log_probabilities,
    member_probabilities,
)
from cannabis_ml.networks.params import LossParams
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

_LIGHTEST = 1e-6
_BASE = 1e-8


def hierarchical_loss(
    logits: dict[str, Tensor],
    targets: dict[str, Tensor],
    taxonomy: Taxonomy,
    params: LossParams,
    *,
    class_weights: Mapping[str, Tensor] | None = None,
    member_weights: Tensor | None = None,
    log_variances: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the heads' losses over one batch.

    Weights of classes and members multiply a photo's loss; the sum is divided by the number of
    labels, not by the sum of weights, so that a batch of rare classes counts for more.

    Args:
        logits: Per head (N, M, C), as from `HierarchicalNet`.
        targets: Per head, as from `Taxonomy.encode`.
        taxonomy: Gives the heads.
        params: Weights of heads and the forms of their losses.
        class_weights: Per head (K,); heads that are not named weigh all classes 1.
        member_weights: (N, M), as from `bootstrap_weights`; 1 where None.
        log_variances: (H,) in the taxonomy's order, where `params.balance` is learned.

    Returns:
        The total, and per head its mean before the weight of the head.
    """
    per_head, labelled = {}, {}
    for head in taxonomy.heads:
        total, known = summed_loss(
            head,
            logits[head.name],
            targets,
            taxonomy,
            params,
            class_weights=class_weights,
            member_weights=member_weights,
        )
        per_head[head.name] = total / known.clamp(min=1)
        labelled[head.name] = known > 0
    means = torch.stack(list(per_head.values()))
    weights = means.new_tensor(list(head_weights(taxonomy, params.weights).values()))
    if params.balance == "fixed":
        return (weights * means).sum(), per_head
    if log_variances is None:
        raise ValueError("loss.balance is learned, but the log variances are missing")
    # Kendall, Gal & Cipolla 2018, eq. 10: L / variance + log of the standard deviation. The
    # variance of a head without labels in the batch is kept; a head of weight 0 is left out.
    counts = (weights > 0) & torch.stack(list(labelled.values()))
    balanced = torch.exp(-log_variances) * means + log_variances / 2
    return torch.where(counts, balanced, 0.0).sum(), per_head


def distillation_loss(
    student_logits: dict[str, Tensor],
    teacher_probs: Mapping[str, Tensor],
    taxonomy: Taxonomy,
    temperature: float,
    params: LossParams | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Distillation loss of every member of the student (Hinton, Vinyals & Dean 2015, section 2.1).

    Kullback-Leibler divergence at a temperature, times the squared temperature; of a multilabel
    head the mean over attributes. Child heads are compared as decoded jointly with their parents.

    Args:
        student_logits: Per head (N, M, C).
        teacher_probs: Per head (N, K), as from `answer`.
        taxonomy: Gives the heads.
        temperature: Probabilities are raised to 1 / temperature and normalized.
        params: Weights of the heads; 1 each where None.

    Returns:
        The total, and per head its mean over photos and members before the weight of the head.
    """
    decoded = member_probabilities(student_logits, taxonomy)
    per_head = {}
    for head in taxonomy.heads:
        teacher = teacher_probs[head.name].detach()[:, None]
        free = not taxonomy.limits(head)
        student = decoded[head.name].clamp(min=SMALLEST)
        if head.kind == "multilabel":
            logit = student_logits[head.name] if free else _logit(student)
            divergence = _binary_divergence(_logit(teacher) / temperature, logit / temperature)
        else:
            scores = log_probabilities(head, student_logits[head.name]) if free else student.log()
            softened = (teacher.clamp(min=SMALLEST).log() / temperature).log_softmax(dim=-1)
            learned = (scores / temperature).log_softmax(dim=-1)
            divergence = (softened.exp() * (softened - learned)).sum(dim=-1)
        per_head[head.name] = temperature**2 * divergence.mean()
    weights = head_weights(taxonomy, params.weights if params else {})
    total = torch.stack([weights[name] * loss for name, loss in per_head.items()]).sum()
    return total, per_head


def head_weights(taxonomy: Taxonomy, weights: Mapping[str, float]) -> dict[str, float]:
    """Loss weight of every head: that of its name, else that of its kind, else 1."""
    return {h.name: weights.get(h.name, weights.get(h.kind, 1.0)) for h in taxonomy.heads}


def initial_log_variances(taxonomy: Taxonomy, params: LossParams) -> Tensor:
    """Initial log variances, (H,), at which the learned balance has the configured weights."""
    weights = head_weights(taxonomy, params.weights).values()
    return torch.tensor([-math.log(max(weight, _LIGHTEST)) for weight in weights])


def bootstrap_weights(photos: int, members: int, seed: int) -> Tensor:
    """Weights of training photos for each member (Bayesian bootstrap, Rubin 1981).

    They are exponential: unlike drawing with replacement, no member lacks the only photo of a
    class.

    Returns:
        float32 (photos, members) with a mean of about 1; exactly 1 if there is one member.
    """
    if members == 1:
        return torch.ones(photos, 1)
    drawn = np.random.default_rng((seed, members)).exponential(size=(photos, members))
    return torch.from_numpy(drawn.astype(np.float32))


def summed_loss(
    head: Head,
    logits: Tensor,
    targets: dict[str, Tensor],
    taxonomy: Taxonomy,
    params: LossParams,
    *,
    class_weights: Mapping[str, Tensor] | None = None,
    member_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum of a head's loss over known labels, and their number.

    Sums and counts of batches add up to those of an epoch; means of batches would not.

    Args:
        head: One of the taxonomy's.
        logits: (N, M, C) of this head.
        targets: Of every head, as from `Taxonomy.encode`.
        taxonomy: Gives the parent.
        params: The form of the loss; weights of heads are not used.
        class_weights: Per head (K,).
        member_weights: (N, M).

    Returns:
        Two scalars: the sum over photos of the mean over members; the number of labelled photos
        (multilabel: of known attributes).
    """
    truth = targets[head.name]
    known, possible = _label_mask(head, targets, taxonomy)
    weights = None if class_weights is None else class_weights.get(head.name)
    if head.kind == "multilabel":
        losses = _attribute_losses(logits, truth.nan_to_num()[:, None], params)
        losses = losses if weights is None else losses * weights
        losses = torch.where(known[:, None], losses, 0.0).sum(dim=2)
    else:
        label = truth.clamp(min=0)
        if head.kind == "ordinal":
            losses = _ordinal_losses(head, logits, label, possible)
        else:
            losses = _class_losses(logits, label, possible, params.label_smoothing)
        losses = losses if weights is None else losses * weights[label][:, None]
        losses = torch.where(known[:, None], losses, 0.0)
    if member_weights is not None:
        losses = losses * member_weights
    return losses.mean(dim=1).sum(), known.sum()


def _label_mask(
    head: Head, targets: dict[str, Tensor], taxonomy: Taxonomy
) -> tuple[Tensor, Tensor | None]:
    """Labels that count, (N,) or (N, K); and possible classes, (N, K), None for all."""
    truth = targets[head.name]
    known = ~truth.isnan() if head.kind == "multilabel" else truth != MISSING
    allowed = allowed_classes(taxonomy, head, truth.device)
    if allowed is None:
        return known, None
    assert head.parent is not None
    parent = targets[head.parent]
    possible = allowed[parent.clamp(min=0)] | (parent == MISSING)[:, None]
    if head.kind == "multilabel":
        return known & possible, possible
    return known & possible.gather(1, truth.clamp(min=0)[:, None]).squeeze(1), possible


def _class_losses(
    logits: Tensor, label: Tensor, possible: Tensor | None, smoothing: float
) -> Tensor:
    """(N, M) cross-entropies; label smoothing is over the possible classes."""
    if possible is None:
        logs = logits.log_softmax(dim=2)
        spread = logs.mean(dim=2)
    else:
        among = possible[:, None]
        logs = torch.where(among, logits, IMPOSSIBLE).log_softmax(dim=2)
        spread = torch.where(among, logs, 0.0).sum(dim=2) / among.sum(dim=2).clamp(min=1)
    hit = logs.gather(2, label[:, None, None].expand(-1, logs.shape[1], 1)).squeeze(2)
    return -((1 - smoothing) * hit + smoothing * spread)


def _ordinal_losses(head: Head, logits: Tensor, label: Tensor, possible: Tensor | None) -> Tensor:
    """(N, M) sums of binary cross-entropies of "worse than class k", given the possible classes."""
    ranks = torch.arange(logits.shape[2], device=logits.device)
    worse = (label[:, None] > ranks).to(logits.dtype)[:, None]
    if possible is None:
        worse = worse.expand_as(logits)
        return functional.binary_cross_entropy_with_logits(logits, worse, reduction="none").sum(2)
    scores = torch.where(possible[:, None], log_probabilities(head, logits), IMPOSSIBLE)
    logs = scores.log_softmax(dim=2)[:, :, None]
    above = torch.arange(len(head.classes), device=logits.device) > ranks[:, None]
    log_worse = torch.where(above, logs, IMPOSSIBLE).logsumexp(dim=3)
    log_not = torch.where(above, IMPOSSIBLE, logs).logsumexp(dim=3)
    return -torch.where(worse > 0, log_worse, log_not).sum(dim=2)


def _attribute_losses(logits: Tensor, truth: Tensor, params: LossParams) -> Tensor:
    """(N, M, K) of logits (N, M, K) and truth (N, 1, K) of 0 and 1."""
    truth = truth.to(logits.dtype).expand_as(logits)
    if params.multilabel == "bce":
        return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # Ridnik et al. 2021, eq. 7: probabilities are shifted down by `clip` for what is absent.
    shifted = (logits.sigmoid() - params.clip).clamp(min=0)
    present = (-logits).sigmoid().clamp(min=_BASE) ** params.gamma_pos * functional.logsigmoid(
        logits
    )
    log_absent = functional.logsigmoid(-logits) if params.clip == 0 else torch.log1p(-shifted)
    absent = shifted.clamp(min=_BASE) ** params.gamma_neg * log_absent
    return -torch.where(truth > 0.5, present, absent)


def _logit(probs: Tensor) -> Tensor:
    small = torch.finfo(probs.dtype).eps
    return torch.logit(probs, eps=small)


def _binary_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """(N, M) mean over attributes of the divergence of two Bernoullis given by their logits."""
    teacher = teacher.expand_as(student)
    cross = functional.binary_cross_entropy_with_logits(
        student, teacher.sigmoid(), reduction="none"
    )
    own = functional.binary_cross_entropy_with_logits(teacher, teacher.sigmoid(), reduction="none")
    return (cross - own).mean(dim=2)
