"""The network: a timm backbone with a head per question of the taxonomy.

Photos go in as uint8 pixels, so that preprocessing is part of the model and no client can get it
wrong. Logits come out; `probabilities` says what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cannabis_ml.models.weights import create_backbone
from cannabis_ml.taxonomy import Head, Taxonomy

if TYPE_CHECKING:
    from cannabis_ml.datasets.checkpoint import Checkpoint

WHITE = 255.0


class OrdinalHead(nn.Module):
    """Cumulative logits that cannot cross: CORAL (Cao, Mirjalili & Raschka 2020, eq. 2-4).

    Logit k says how much speaks for "worse than class k": P(y > k) = sigmoid(logit k). All share
    one weight vector and differ by a threshold; each threshold is the one before minus a softplus,
    so P(y > k) never rises with k. (The paper lets training bring the thresholds into order; here
    they are in order by construction.)
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Linear(features, 1, bias=False)
        # Zero evidence means that every class is equally likely: P(y > k) = 1 - (k + 1) / K.
        above = 1 - torch.arange(1, classes) / classes
        thresholds = torch.logit(above)
        self.first = nn.Parameter(thresholds[:1].clone())
        self.steps = nn.Parameter(torch.log(torch.expm1(thresholds[:-1] - thresholds[1:])))

    def thresholds(self) -> Tensor:
        """(K - 1,), strictly falling."""
        falls = torch.cumsum(functional.softplus(self.steps), dim=0)
        return torch.cat([self.first, self.first - falls])

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, K - 1) logits of P(y > k)."""
        return self.weight(features) + self.thresholds()


class HierarchicalNet(nn.Module):
    """A backbone shared by one head per head of the taxonomy.

    Args:
        backbone: Maps (N, 3, S, S) normalised pixels to (N, F) features; has `num_features`.
        taxonomy: Gives the heads.
        dropout: Share of features dropped before the heads while training.
        image_size: S.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
    """

    def __init__(
        self,
        backbone: nn.Module,
        taxonomy: Taxonomy,
        *,
        dropout: float = 0.0,
        image_size: int = 224,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.taxonomy = taxonomy
        self.image_size = image_size
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        features = int(backbone.num_features)  # type: ignore[arg-type]
        # Keyed by position: a head's name may hold a dot, which module names may not.
        self.heads = nn.ModuleList(_make_head(head, features) for head in taxonomy.heads)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)

    def embed(self, photos: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) RGB -> float (N, F)."""
        return self.backbone((photos.float() - self.mean) / self.std)

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """(N, F) -> float32 logits per head: (N, K), or (N, K - 1) of an ordinal head."""
        features = self.dropout(features)
        heads = zip(self.taxonomy.heads, self.heads, strict=True)
        return {head.name: module(features).float() for head, module in heads}

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        """uint8 (N, 3, S, S) RGB -> logits per head, see `classify`."""
        return self.classify(self.embed(photos))


class ExportNet(nn.Module):
    """What clients get: uint8 (N, S, S, 3) RGB in, probabilities (N, K) per head name out."""

    def __init__(self, network: HierarchicalNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        logits = self.network(image.permute(0, 3, 1, 2))
        return {
            head.name: probabilities(head, logits[head.name])
            for head in self.network.taxonomy.heads
        }


def probabilities(head: Head, logits: Tensor) -> Tensor:
    """What the logits of a head mean.

    Returns:
        (N, K) in class order. Multiclass and ordinal: rows sum to 1. Multilabel: each in [0, 1].
    """
    if head.kind == "multiclass":
        return logits.softmax(dim=1)
    if head.kind == "multilabel":
        return logits.sigmoid()
    worse = logits.sigmoid()  # P(y > k), falling with k
    certain = torch.ones_like(worse[:, :1])
    return torch.cat([certain, worse], dim=1) - torch.cat([worse, 0 * certain], dim=1)


def restore(checkpoint: Checkpoint) -> HierarchicalNet:
    """The trained network of a checkpoint, in evaluation mode, on the CPU."""
    card = checkpoint.card
    network = HierarchicalNet(
        create_backbone(card["backbone"], card["image_size"]),
        Taxonomy.model_validate(card["taxonomy"]),
        dropout=card["dropout"],
        image_size=card["image_size"],
        mean=card["mean"],
        std=card["std"],
    )
    # Zero-dimensional arrays lose their shape in torch.from_numpy's contiguous copy.
    state = {name: torch.tensor(array) for name, array in checkpoint.state.items()}
    network.load_state_dict(state)
    return network.eval()


def _make_head(head: Head, features: int) -> nn.Module:
    classes = len(head.classes)
    std = 0.1 / math.sqrt(features)  # first answers close to "every class is equally likely"
    if head.kind == "ordinal":
        ordinal = OrdinalHead(features, classes)
        nn.init.normal_(ordinal.weight.weight, std=std)
        return ordinal
    linear = nn.Linear(features, classes)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear


def _per_channel(values: Sequence[float]) -> Tensor:
    return WHITE * torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
