"""The network: a timm backbone with an ensemble of small heads per question of the taxonomy.

Photos go in as uint8 pixels, so that preprocessing is part of the model and no client can get it
wrong. Logits come out; `decoding` turns them into probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.inference.outputs import (
    ALEATORIC,
    ATTENTION,
    EMBEDDING,
    EPISTEMIC,
    GIVEN,
    output_names,
)
from cannabis_ml.networks.attention import SpatialAttention
from cannabis_ml.networks.backbones import (
    FusedBackbone,
    branches_of,
    feature_map_layout,
    feature_width,
)
from cannabis_ml.networks.decoding import (
    given_parents,
    marginals,
    member_probabilities,
    probabilities,
    uncertainty,
    uncertainty_of_members,
)
from cannabis_ml.networks.experts import Experts
from cannabis_ml.taxonomy import Head, Taxonomy

__all__ = [
    "Architecture",
    "ExportNet",
    "HierarchicalNet",
    "OrdinalHead",
    "given_parents",
    "marginals",
    "probabilities",
    "uncertainty",
]

WHITE = 255.0

ALIKE = 0.1
"""Standard deviation of the logits of fresh weights for features of unit variance: at first every
class is about equally likely."""


class OrdinalHead(nn.Module):
    """Cumulative logits that cannot cross: CORAL (Cao, Mirjalili & Raschka 2020, eq. 2-4).

    Logit k is that of being worse than class k: P(y > k) = sigmoid(logit k). All share
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


class EnsembleHead(nn.ModuleList):
    """An ensemble of heads; each member has its own initial weights and its own dropout."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> float32 (N, M, C)."""
        return torch.stack([member(features).float() for member in self], dim=1)

    @torch.no_grad()
    def begin_apart(self, spread: float) -> None:
        """Draw fresh weights for the members that differ widely and have a mean of 0.

        Members that begin alike end alike, and then their disagreement depends little on how many
        photos they have seen; a random beginning is what the photos have to overrule (Osband,
        Aslanides & Cassirer 2018). Single members are the worse for it; their mean is not, as what
        is random adds up to nothing over the members.

        Args:
            spread: Standard deviation of a member's logits for features of unit variance.
        """
        count = len(self)
        if count == 1:
            return
        layers = [_output_weights(member) for member in self]
        std = spread / math.sqrt(layers[0].shape[1])
        drawn = torch.randn(count, *layers[0].shape) * std
        # Less their mean they would vary less, by (M - 1) / M.
        apart = (drawn - drawn.mean(dim=0)) * math.sqrt(count / (count - 1))
        for weights, fresh in zip(layers, apart, strict=True):
            weights.copy_(fresh)


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, besides its backbone and its taxonomy.

    Attributes:
        image_size: S.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
        dropout: Share of features dropped before each head while training.
        ensemble: Members of every head, M.
        attention: Weigh the places of the feature map; off for a backbone without a map.
        hidden: Width of a hidden layer in every member, or by head, those that are not named having
            none; 0: linear members.
        mirrored: In evaluation mode, features are the mean of those of the photo and of its mirror
            image.
    """

    image_size: int = 224
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.5, 0.5, 0.5)
    dropout: float = 0.0
    ensemble: int = 1
    attention: bool = False
    hidden: int | Mapping[str, int] = 0
    mirrored: bool = False

    def hidden_of(self, head: str) -> int:
        """Width of the hidden layer of a head."""
        return self.hidden if isinstance(self.hidden, int) else self.hidden.get(head, 0)


class HierarchicalNet(nn.Module):
    """A backbone shared by an ensemble of small heads per head of the taxonomy.

    Three parts, to be frozen, trained and counted apart: `backbone`, `attention` (empty where
    there is none) and `heads`. Experts, networks of their own, are added once all are trained.

    Args:
        backbone: Maps (N, 3, S, S) normalized pixels to (N, F) features; has `num_features`.
        taxonomy: Gives the heads.
        architecture: Sizes and options of all else.

    Raises:
        TaxonomyError: If a head has the name of another output of an exported network.
    """

    def __init__(self, backbone: nn.Module, taxonomy: Taxonomy, architecture: Architecture) -> None:
        super().__init__()
        made_of = architecture
        # Refuses heads that are called as other outputs are.
        output_names(taxonomy, members=made_of.ensemble, attention=made_of.attention)
        self.taxonomy = taxonomy
        self.image_size = made_of.image_size
        self.dropout = made_of.dropout
        self.ensemble = made_of.ensemble
        self.hidden = made_of.hidden
        self.mirrored = made_of.mirrored
        self.num_features = feature_width(backbone)
        self.backbone = backbone
        self.attention = nn.ModuleList(
            _make_attention(backbone, made_of.image_size) if made_of.attention else []
        )
        # Keyed by position: a head's name may hold a dot, which module names may not.
        self.heads = nn.ModuleList(
            self.make_head(head, made_of.hidden_of(head.name)) for head in taxonomy.heads
        )
        self.experts: Experts | None = None
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _per_channel(made_of.mean), persistent=False)
        self.register_buffer("std", _per_channel(made_of.std), persistent=False)

    def make_head(self, head: Head, hidden: int) -> EnsembleHead:
        """Members with random weights, for features of this network.

        Args:
            head: Gives kind and classes.
            hidden: Width of the hidden layer; 0: linear members.
        """
        return EnsembleHead(
            _make_member(head, self.num_features, hidden, self.dropout)
            for _ in range(self.ensemble)
        )

    def add_experts(self, head: str, networks: Mapping[str, HierarchicalNet]) -> None:
        """Let networks of their own answer a head for some classes of its parent.

        Args:
            head: As for `Experts`.
            networks: As for `Experts`, with as many members.
        """
        self.experts = Experts(self.taxonomy, head, networks)

    def embed(self, photos: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) RGB -> float (N, F); with experts their features stand behind."""
        features = self.embed_with_attention(photos)[0]
        if self.experts is None:
            return features
        return torch.cat([features, self.experts.embed(photos)], dim=1)

    def embed_with_attention(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 (N, 3, S, S) RGB -> float (N, F), and where they were taken from.

        Returns:
            The features, without those of experts; and the attention map, (N, h, w) within (0, 1),
            of the first backbone that has one, None where none has. Of a mirrored network in
            evaluation mode, means over the photo and its mirror image.
        """
        pixels = (photos.float() - self.mean) / self.std
        if self.training or not self.mirrored:
            return self._look(pixels)
        # Training looks once: it mirrors photos at random (training.augment).
        features, seen = self._look(torch.cat([pixels, pixels.flip(-1)]))
        count = photos.shape[0]  # len() would fix the size of exported batches
        if seen is not None:
            seen = (seen[:count] + seen[count:].flip(-1)) / 2
        return (features[:count] + features[count:]) / 2, seen

    def _look(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same of normalized pixels, once."""
        if not self.attention:
            return self.backbone(pixels), None
        fused = isinstance(self.backbone, FusedBackbone)
        views = self.backbone.views(pixels) if fused else [pixels]  # type: ignore[operator]
        features, seen = [], None
        for branch, attend, view in zip(
            branches_of(self.backbone), self.attention, views, strict=True
        ):
            if not isinstance(attend, SpatialAttention):
                features.append(branch(view))
                continue
            attended, where = attend(branch.forward_features(view))  # type: ignore[operator]
            features.append(branch.forward_head(attended))  # type: ignore[operator]
            seen = where if seen is None else seen
        return torch.cat(features, dim=1), seen

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Features, as from `embed`, -> float32 logits per head.

        Returns:
            (N, M, K), or (N, M, K - 1) of an ordinal head; (N, M, P, K) of one that has experts,
            given each class of its parent.
        """
        heads = zip(self.taxonomy.heads, self.heads, strict=True)
        if self.experts is None:
            return {head.name: members(features) for head, members in heads}
        own, others = features[:, : self.num_features], features[:, self.num_features :]
        logits = {head.name: members(own) for head, members in heads}
        name = self.experts.head
        return {**logits, name: self.experts.logits(others, logits[name])}

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        """uint8 (N, 3, S, S) RGB -> logits per head, see `classify`."""
        return self.classify(self.embed(photos))

    def card(self, backbone: str | list[str], **facts: object) -> NetworkCard:
        """What `restore` needs besides the tensors.

        Args:
            backbone: Name of the timm model; several are fused.
            **facts: Other fields of the card, such as where the weights came from.
        """
        return NetworkCard(
            taxonomy=self.taxonomy,
            taxonomy_sha256=self.taxonomy.sha256,
            image_size=self.image_size,
            backbone=backbone,
            mean=[round(v, 6) for v in (self.mean.flatten() / WHITE).tolist()],
            std=[round(v, 6) for v in (self.std.flatten() / WHITE).tolist()],
            dropout=self.dropout,
            ensemble=self.ensemble,
            attention=len(self.attention) > 0,
            hidden=self.hidden if isinstance(self.hidden, int) else dict(self.hidden),
            mirrored=self.mirrored,
            experts={} if self.experts is None else {self.experts.head: self.experts.names},
            **facts,
        )


class ExportNet(nn.Module):
    """The network as it is exported: uint8 (N, S, S, 3) RGB in, named float32 outputs out.

    `cannabis_ml.inference.outputs` lists them.
    """

    def __init__(self, network: HierarchicalNet) -> None:
        super().__init__()
        self.network = network

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in their order."""
        network = self.network
        attends = len(network.attention) > 0
        return output_names(network.taxonomy, members=network.ensemble, attention=attends)

    @torch.inference_mode()
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every output without the first dimension."""
        size = self.network.image_size
        blank = torch.zeros(1, size, size, 3, dtype=torch.uint8)
        return {name: tuple(values.shape[1:]) for name, values in self(blank).items()}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        network = self.network
        photos = image.permute(0, 3, 1, 2)
        features, seen = network.embed_with_attention(photos)
        all_features = features
        if network.experts is not None:
            all_features = torch.cat([features, network.experts.embed(photos)], dim=1)
        logits = network.classify(all_features)
        members = member_probabilities(logits, network.taxonomy)
        outputs = {name: probs.mean(dim=1) for name, probs in members.items()}
        outputs[EMBEDDING] = features.float()
        for name, parts in uncertainty_of_members(members, network.taxonomy).items():
            outputs |= {name + ALEATORIC: parts.aleatoric, name + EPISTEMIC: parts.epistemic}
        if seen is not None:
            outputs[ATTENTION] = seen.float()
        given = given_parents(logits, network.taxonomy)
        outputs |= {name + GIVEN: probs for name, probs in given.items()}
        return {name: outputs[name] for name in self.outputs}


def _make_attention(backbone: nn.Module, image_size: int) -> list[nn.Module]:
    """One for each branch; `Identity` for those without a map, none at all where none has one."""
    modules: list[nn.Module] = []
    for branch in branches_of(backbone):
        layout = feature_map_layout(branch, image_size)
        if layout is None:
            modules.append(nn.Identity())
        else:
            modules.append(SpatialAttention(layout.channels, channels_last=layout.channels_last))
    return modules if any(isinstance(part, SpatialAttention) for part in modules) else []


def _make_member(head: Head, features: int, hidden: int, dropout: float) -> nn.Module:
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden:
        layers += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout)]
    layers.append(_make_head(head, hidden or features))
    return nn.Sequential(*layers)


def _output_weights(member: nn.Module) -> Tensor:
    """Weights of the last layer of a member, (C, F), or (1, F) of an ordinal head."""
    last = list(member.children())[-1]
    layer = last.weight if isinstance(last, OrdinalHead) else last
    return cast(Tensor, layer.weight)


def _make_head(head: Head, features: int) -> nn.Module:
    classes = len(head.classes)
    std = ALIKE / math.sqrt(features)
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
