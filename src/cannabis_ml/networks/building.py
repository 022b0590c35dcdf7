"""Networks made in one place: from parameters, from a checkpoint, or from both."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from torch import nn

from cannabis_ml.errors import TrainingError
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.backbones import create_backbone, normalization
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.experts import expert_taxonomy
from cannabis_ml.networks.network import Architecture, EnsembleHead, HierarchicalNet
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.networks.weights import load_backbone
from cannabis_ml.taxonomy import Head, Taxonomy

logger = logging.getLogger(__name__)


def build_network(
    params: ModelParams, taxonomy: Taxonomy, start: Checkpoint | None = None
) -> tuple[HierarchicalNet, dict[str, Any]]:
    """Build a network to train.

    Args:
        params: Backbone, sizes and sources of pretrained weights.
        taxonomy: Gives the heads.
        start: A checkpoint of the same backbone to take weights from, before any pretrained ones:
            backbone, attention and every head of the same name and form. A head with other classes
            keeps the weights of those that it had, unless it is ordinal.

    Returns:
        The network, and where its weights came from, JSON-able: see `load_backbone`; `source` is
        `checkpoint` for those of `start`.

    Raises:
        WeightsError: If no configured source has weights for the backbone.
        TrainingError: If `start` is of another backbone, or of a size that this one cannot take.
    """
    if start is None:
        backbone, provenance = load_backbone(params)
        network = _assembled(backbone, taxonomy, params, *normalization(backbone))
        _begin_apart(network, params.spread, [head.name for head in taxonomy.heads])
        return network, provenance
    return _continued(start, params, taxonomy), {
        "source": "checkpoint",
        "sha256": start.sha256,
        "licence": (start.card.weights or {}).get("licence"),
    }


def build_untrained(params: ModelParams, taxonomy: Taxonomy) -> HierarchicalNet:
    """The same network with random weights, to see what it takes rather than what it knows."""
    backbone = create_backbone(params.backbone, params.image_size)
    return _assembled(backbone, taxonomy, params, *normalization(backbone))


def restore(checkpoint: Checkpoint) -> HierarchicalNet:
    """The trained network of a checkpoint, in evaluation mode, on the CPU; with its experts."""
    card = checkpoint.card
    network = _of_card(card, card.taxonomy)
    for head, names in card.experts.items():
        taxonomies = {name: expert_taxonomy(card.taxonomy, head, name) for name in names}
        experts = {name: _of_card(card, taxonomy) for name, taxonomy in taxonomies.items()}
        network.add_experts(head, experts)
    # Zero-dimensional arrays lose their shape in torch.from_numpy's contiguous copy.
    state = {name: torch.tensor(array) for name, array in checkpoint.state.items()}
    network.load_state_dict(state)
    return network.eval()


def with_experts(general: Checkpoint, head: str, experts: Mapping[str, Checkpoint]) -> Checkpoint:
    """One checkpoint of a network and its experts.

    Args:
        general: Of the network for all.
        head: The head that the experts answer.
        experts: By class of its parent, each of the same backbone, with the head of
            `expert_taxonomy` alone; none leaves the checkpoint as it is.
    """
    if not experts:
        return general
    state = dict(general.state)
    for number, expert in enumerate(experts.values()):
        state |= {f"experts.networks.{number}.{key}": a for key, a in expert.state.items()}
    keys = [str(one.card.training_key) for one in (general, *experts.values())]
    key = hashlib.sha256("\n".join(keys).encode()).hexdigest()
    about = {"experts": {head: list(experts)}, "training_key": key}
    return Checkpoint(state=state, card=general.card.model_copy(update=about))


def refuse_experts(card: NetworkCard) -> None:
    """Refuse a network that its experts answer for, where only the network for all would change.

    Raises:
        TrainingError: If it has experts.
    """
    for head, names in card.experts.items():
        raise TrainingError(
            f"The network has {len(names)} experts for '{head}' (model.experts), which learn a new"
            " class only in a whole training: kedro run --pipeline=retrain."
        )


def _of_card(card: NetworkCard, taxonomy: Taxonomy) -> HierarchicalNet:
    architecture = {field.name: getattr(card, field.name) for field in fields(Architecture)}
    backbone = create_backbone(card.backbone, card.image_size)
    return HierarchicalNet(backbone, taxonomy, Architecture(**architecture))


def _assembled(
    backbone: nn.Module, taxonomy: Taxonomy, params: ModelParams, mean: Any, std: Any
) -> HierarchicalNet:
    architecture = Architecture(
        image_size=params.image_size,
        mean=mean,
        std=std,
        dropout=params.dropout,
        ensemble=params.ensemble,
        attention=params.attention,
        hidden=params.hidden,
        mirrored=params.mirrored,
    )
    return HierarchicalNet(backbone, taxonomy, architecture)


def _begin_apart(network: HierarchicalNet, spread: float, names: Collection[str]) -> None:
    """Draw fresh weights for the members of these heads, see `EnsembleHead.begin_apart`."""
    for head, members in zip(network.taxonomy.heads, network.heads, strict=True):
        if head.name in names:
            cast(EnsembleHead, members).begin_apart(spread)


def _continued(start: Checkpoint, params: ModelParams, taxonomy: Taxonomy) -> HierarchicalNet:
    """A network as configured, with the weights of a checkpoint wherever they fit."""
    old, card = restore(start), start.card
    if card.backbone != params.backbone:
        raise TrainingError(
            f"The checkpoint to start from holds '{card.backbone}', the model to train is"
            f" '{params.backbone}'. Set `start` of the tier or model.backbone to match."
        )
    backbone = create_backbone(params.backbone, params.image_size)
    network = _assembled(backbone, taxonomy, params, card.mean, card.std)
    try:
        network.backbone.load_state_dict(old.backbone.state_dict())
    except RuntimeError as error:
        raise TrainingError(
            f"The checkpoint to start from was trained at {old.image_size} px; this backbone has"
            f" position embeddings for {params.image_size} px. Train at the same size."
        ) from error
    if len(network.attention) == len(old.attention):
        network.attention.load_state_dict(old.attention.state_dict())
    fresh = _take_over_heads(old, network)
    _begin_apart(network, params.spread, fresh)
    return network


def grow_network(start: Checkpoint, taxonomy: Taxonomy) -> HierarchicalNet:
    """The network of a checkpoint with the heads of another taxonomy, in evaluation mode.

    Backbone and attention are the very same. Heads of the same name and form keep their weights, as
    in `build_network`.

    Args:
        start: The trained network.
        taxonomy: With classes or heads that it does not have.

    Raises:
        TrainingError: If it has experts.
    """
    refuse_experts(start.card)
    old, card = restore(start), start.card
    architecture = {field.name: getattr(card, field.name) for field in fields(Architecture)}
    network = HierarchicalNet(old.backbone, taxonomy, Architecture(**architecture))
    network.attention.load_state_dict(old.attention.state_dict())
    _take_over_heads(old, network)
    return network.eval()


def replace_head(network: HierarchicalNet, name: str, hidden: int) -> EnsembleHead:
    """Give a head fresh members with a hidden layer of another width.

    Args:
        network: Changed in place.
        name: Of the head.
        hidden: Width; 0: linear members.

    Returns:
        The head.
    """
    place = [head.name for head in network.taxonomy.heads].index(name)
    widths = network.hidden
    if isinstance(widths, int):
        widths = {head.name: widths for head in network.taxonomy.heads}
    network.hidden = {**widths, name: hidden}
    fresh = network.make_head(network.taxonomy.heads[place], hidden)
    network.heads[place] = fresh
    return fresh


def _take_over_heads(old: HierarchicalNet, network: HierarchicalNet) -> list[str]:
    """Begin with the weights of the heads of the same name wherever they fit.

    Returns:
        Names of the heads that start from random weights.
    """
    taxonomy = network.taxonomy
    fresh, grown = [], []
    theirs = {
        head.name: (head, part) for head, part in zip(old.taxonomy.heads, old.heads, strict=True)
    }
    for head, part in zip(taxonomy.heads, network.heads, strict=True):
        known, before = theirs.get(head.name, (None, None))
        if known is None or before is None or not _fits(known, before, head, part):
            fresh.append(head.name)
            continue
        if known.class_names == head.class_names:
            part.load_state_dict(before.state_dict())
        else:
            _take_over_classes(known, before, head, part)
            grown.append(head.name)
    if fresh:
        logger.info(
            "Heads %s start from random weights: the checkpoint to start from has none like them.",
            fresh,
        )
    if grown:
        logger.info("Heads %s keep the weights of the classes that they had.", grown)
    return fresh


def _fits(known: Head, before: nn.Module, head: Head, part: nn.Module) -> bool:
    """Whether a head can begin with the weights of one of the same name."""
    if known.kind != head.kind:
        return False
    if known.class_names != head.class_names and (
        # A threshold lies between two grades: with others between them it means something else.
        head.kind == "ordinal" or not set(known.class_names) & set(head.class_names)
    ):
        return False
    shapes = [
        {name: tensor.shape[1:] for name, tensor in one.state_dict().items()}
        for one in (before, part)
    ]
    return shapes[0] == shapes[1]


def _take_over_classes(known: Head, heads_before: Any, head: Head, heads: Any) -> None:
    """Copy the rows of the classes that both heads have; a new one begins with their mean.

    Then its logit is never the largest, and no answer changes before it is learned.
    """
    places = {name: row for row, name in enumerate(known.class_names)}
    pairs = [(row, places[name]) for row, name in enumerate(head.class_names) if name in places]
    to, rows = (list(side) for side in zip(*pairs, strict=True))
    for old, new in zip(heads_before, heads, strict=True):
        new[:-1].load_state_dict(old[:-1].state_dict())
        with torch.no_grad():
            for after, before in zip(new[-1].parameters(), old[-1].parameters(), strict=True):
                after[:] = before[rows].mean(dim=0)
                after[to] = before[rows]
