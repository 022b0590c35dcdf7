"""The loss of a hierarchy: a sum over heads, each a mean over the labels that are known.

| head | loss of one photo |
|---|---|
| multiclass | cross-entropy, with label smoothing |
| ordinal | sum of binary cross-entropies of "worse than class k" (CORAL, Cao et al. 2020, eq. 4) |
| multilabel | binary cross-entropy of each known attribute; the mean is over attributes known |

A missing label adds nothing. A batch without any label of a head has a loss of exactly zero for
it, and no gradient flows into that head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


def head_weights(taxonomy: Taxonomy, weights: dict[str, float]) -> dict[str, float]:
    """Loss weight of every head: that of its name, else that of its kind, else 1."""
    return {h.name: weights.get(h.name, weights.get(h.kind, 1.0)) for h in taxonomy.heads}


def hierarchical_loss(
    logits: dict[str, Tensor],
    targets: dict[str, Tensor],
    taxonomy: Taxonomy,
    weights: dict[str, float],
    label_smoothing: float = 0.0,
    photo_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the heads' losses over one batch.

    Args:
        logits: Per head, as from `HierarchicalNet`.
        targets: Per head, as from `Taxonomy.encode`.
        taxonomy: Gives the heads.
        weights: By head kind or head name, see `head_weights`.
        label_smoothing: Of multiclass heads.
        photo_weights: (N,), what each photo weighs; 1 where None.

    Returns:
        The total, and per head its mean over labels, not weighted by `weights`.
    """
    per_head = {}
    for head in taxonomy.heads:
        total, known = summed_loss(
            head, logits[head.name], targets[head.name], label_smoothing, photo_weights
        )
        per_head[head.name] = total / known.clamp(min=1)
    by_head = head_weights(taxonomy, weights)
    stacked = torch.stack([by_head[name] * loss for name, loss in per_head.items()])
    return stacked.sum(), per_head


def summed_loss(
    head: Head,
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    photo_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum of a head's loss over what is labelled, and how many labels that were.

    Sums and counts of batches add up to those of an epoch, where means of batches would not.

    Returns:
        Two scalars: the sum, each photo weighing what `photo_weights` says; the number of
        labelled photos (multilabel: of known attributes).
    """
    if head.kind == "multilabel":
        known = ~targets.isnan()
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets.nan_to_num(), reduction="none"
        )
        if photo_weights is not None:
            losses = losses * photo_weights[:, None]
        return torch.where(known, losses, 0.0).sum(), known.sum()

    known = targets != MISSING
    if head.kind == "multiclass":
        losses = functional.cross_entropy(
            logits,
            targets,
            ignore_index=MISSING,
            label_smoothing=label_smoothing,
            reduction="none",
        )
    else:
        ranks = torch.arange(logits.shape[1], device=logits.device)
        worse = (targets[:, None] > ranks).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, worse, reduction="none").sum(
            dim=1
        )
    if photo_weights is not None:
        losses = losses * photo_weights
    return torch.where(known, losses, 0.0).sum(), known.sum()
