"""Networks made in one place: from parameters, from a checkpoint, or from both."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.backbones import create_backbone, normalization
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.networks.weights import load_backbone
from cannabis_ml.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


def build_network(
    params: ModelParams, taxonomy: Taxonomy, start: Checkpoint | None = None
) -> tuple[HierarchicalNet, dict[str, Any]]:
    """Build a network to train.

    Args:
        params: Backbone, sizes and sources of pretrained weights.
        taxonomy: Gives the heads.
        start: A checkpoint of the same backbone to take weights from, before any pretrained ones:
            backbone, attention and every head of the same name, classes and form.

    Returns:
        The network, and where its weights came from, JSON-able: see `load_backbone`; `source` is
        `checkpoint` for those of `start`.

    Raises:
        WeightsError: If no configured source has weights for the backbone.
        TrainingError: If `start` is of another backbone, or of a size that this one cannot take.
    """
    if start is None:
        backbone, provenance = load_backbone(params)
        return _assembled(backbone, taxonomy, params, *normalization(backbone)), provenance
    return _continued(start, params, taxonomy), {
        "source": "checkpoint",
        "sha256": start.sha256,
        "licence": (start.card.weights or {}).get("licence"),
    }


def restore(checkpoint: Checkpoint) -> HierarchicalNet:
    """The trained network of a checkpoint, in evaluation mode, on the CPU."""
    card = checkpoint.card
    network = HierarchicalNet(
        create_backbone(card.backbone, card.image_size),
        card.taxonomy,
        Architecture(**{field.name: getattr(card, field.name) for field in fields(Architecture)}),
    )
    # Zero-dimensional arrays lose their shape in torch.from_numpy's contiguous copy.
    state = {name: torch.tensor(array) for name, array in checkpoint.state.items()}
    network.load_state_dict(state)
    return network.eval()


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
    )
    return HierarchicalNet(backbone, taxonomy, architecture)


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
    fresh = []
    theirs = {
        head.name: (head, part) for head, part in zip(old.taxonomy.heads, old.heads, strict=True)
    }
    for head, part in zip(taxonomy.heads, network.heads, strict=True):
        known, before = theirs.get(head.name, (None, None))
        state = before.state_dict() if before is not None else {}
        own = part.state_dict()
        same = known is not None and known.class_names == head.class_names
        if same and {k: t.shape for k, t in state.items()} == {k: t.shape for k, t in own.items()}:
            part.load_state_dict(state)
        else:
            fresh.append(head.name)
    if fresh:
        logger.info(
            "Heads %s start from random weights: the checkpoint to start from has none like them.",
            fresh,
        )
    return network
