"""Freezing, parameter groups and learning rates of the phases of training."""

from __future__ import annotations

import math
from collections import defaultdict

from torch import nn

from cannabis_ml.networks.backbones import layer_groups
from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.training.schedule import LastBlocks, Phase, TrainingParams


def set_trainable(network: HierarchicalNet, phase: Phase) -> list[nn.Module]:
    """Unfreeze the parameters that a phase trains, freeze all others.

    The lowest layers, pretrained on a million photos, need little change, and the gradients of
    their large feature maps take most of the time of a training step.

    Args:
        network: Its parameters' `requires_grad` are set.
        phase: What it trains.

    Returns:
        The frozen modules. They belong in evaluation mode: BatchNorm keeps its statistics, and
        nothing is dropped.
    """
    heads = {id(parameter) for parameter in network.heads.parameters()}
    trained = set(heads)
    if phase.train == "all":
        trained = {id(parameter) for parameter in network.parameters()}
    elif isinstance(phase.train, LastBlocks):
        names = {name for layer in _top(network.backbone, phase.train) for name in layer}
        backbone = {id(p): name for name, p in network.backbone.named_parameters()}
        trained |= {
            # What is neither backbone nor head (attention) sits on top of the backbone.
            id(p)
            for p in network.parameters()
            if id(p) not in backbone or backbone[id(p)] in names
        }
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return frozen_modules(network)


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """The modules all of whose parameters are frozen, but for those without any."""
    return [
        module
        for module in network.modules()
        if (held := list(module.parameters())) and not any(p.requires_grad for p in held)
    ]


def parameter_groups(network: HierarchicalNet, training: TrainingParams) -> list[dict[str, object]]:
    """All parameters, grouped by learning rate and weight decay.

    `scale` of a group is its learning rate over that of the phase: 1 for the backbone's top layer,
    times `layer_decay` for each layer below it, `head_multiplier` for heads and attention. Biases,
    norms, thresholds and other vectors have no weight decay.
    """
    layers = layer_groups(network.backbone)
    top = len(layers) - 1
    scale_of = {
        name: training.layer_decay ** (top - depth)
        for depth, layer in enumerate(layers)
        for name in layer
    }
    scales = {id(p): scale_of.get(n, 1.0) for n, p in network.backbone.named_parameters()}
    undecayed = set(getattr(network.backbone, "no_weight_decay", set)())
    kept = {id(p) for name, p in network.backbone.named_parameters() if name in undecayed}
    groups = defaultdict(list)
    for parameter in network.parameters():
        scale = scales.get(id(parameter), training.head_multiplier)
        decayed = parameter.ndim > 1 and id(parameter) not in kept
        groups[scale, training.weight_decay if decayed else 0.0].append(parameter)
    return [
        {"params": parameters, "scale": scale, "weight_decay": decay, "lr": 0.0}
        for (scale, decay), parameters in groups.items()
    ]


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at a step: linear warm-up, then cosine decay to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def _top(backbone: nn.Module, train: LastBlocks) -> list[list[str]]:
    return layer_groups(backbone)[-train.last_blocks :]
