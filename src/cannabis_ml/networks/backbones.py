"""Backbones: timm's feature extractors, alone or fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from cannabis_ml.errors import WeightsError
from cannabis_ml.networks.ready_timm import timm

_PROBE_SIDE = 64
"""Side in pixels of the blank photo that a feature map's layout is read from."""


class FusedBackbone(nn.Module):
    """Several backbones on the same photo, their features concatenated.

    Args:
        branches: Each maps (N, 3, S, S) to (N, F_i); pixels come normalized for the first.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.num_features = sum(feature_width(branch) for branch in branches)
        self.pretrained_cfg: Any = branches[0].pretrained_cfg  # `normalization` reads it
        norms = torch.tensor([normalization(branch) for branch in branches])  # (B, 2, 3)
        (mean, std), means, stds = norms[0], norms[:, 0], norms[:, 1]
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        self.register_buffer("scale", (std / stds)[:, :, None, None], persistent=False)
        self.register_buffer("shift", ((mean - means) / stds)[:, :, None, None], persistent=False)

    def views(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The pixels, normalized for each branch."""
        return [pixels * a + b for a, b in zip(self.scale, self.shift, strict=True)]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) -> (N, F), the branches' features side by side."""
        seen = zip(self.branches, self.views(pixels), strict=True)
        return torch.cat([branch(view) for branch, view in seen], dim=1)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Depth of a parameter, counted from the top: last layers of all branches are one group."""
        layers: dict[str, int] = {}
        for index, branch in enumerate(self.branches):
            groups = layer_groups(branch, coarse=coarse)
            for depth, names in enumerate(reversed(groups)):
                layers |= {f"branches.{index}.{name}": -depth for name in names}
        return layers.__getitem__

    def no_weight_decay(self) -> set[str]:
        """Parameters that the branches exclude from weight decay."""
        return {
            f"branches.{index}.{name}"
            for index, branch in enumerate(self.branches)
            for name in getattr(branch, "no_weight_decay", set)()
        }


def create_backbone(name: str | Sequence[str], image_size: int, **options: Any) -> nn.Module:
    """A timm model without classifier, or several of them fused.

    Raises:
        WeightsError: If timm does not know a name.
    """
    if not isinstance(name, str):
        return FusedBackbone([create_backbone(one, image_size, **options) for one in name])
    check_known(name)
    if is_for_one_size(name):
        options["img_size"] = image_size
    return timm.create_model(name, num_classes=0, **options)


def is_for_one_size(name: str) -> bool:
    """Whether a backbone takes photos of the size it was made for alone: positions are per size."""
    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def check_known(name: str) -> None:
    """Check that timm knows a backbone.

    Raises:
        WeightsError: If it does not; names similar ones.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]
        hint = f"; near: {', '.join(near)}" if near else ""
        raise WeightsError(f"timm has no backbone '{name}'{hint}. See timm.list_models().")


def normalization(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels in [0, 1], that the weights expect."""
    config = timm.data.resolve_data_config({}, model=backbone)
    return tuple(config["mean"]), tuple(config["std"])


def layer_groups(backbone: nn.Module, *, coarse: bool = True) -> list[list[str]]:
    """Names of a backbone's parameters, layer by layer from the bottom (stem, stages, top).

    Fused backbones count from the top: the last layers of all of them are one group.

    Args:
        backbone: As from `load_backbone`.
        coarse: Stages of a CNN rather than single blocks.
    """
    from timm.models import group_parameters

    matcher: Any = backbone.group_matcher
    layers = group_parameters(backbone, matcher(coarse=coarse))
    return [layers[key] for key in sorted(layers)]


def branches_of(backbone: nn.Module) -> list[nn.Module]:
    """The backbones that are fused, or the only one."""
    return list(backbone.branches) if isinstance(backbone, FusedBackbone) else [backbone]


def feature_width(backbone: nn.Module) -> int:
    """F of the (N, F) features; timm's `num_features` is that before a final projection."""
    width = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    return int(width)  # type: ignore[arg-type]


class MapLayout(NamedTuple):
    """Layout of a feature map in memory."""

    channels: int
    channels_last: bool


@torch.no_grad()
def feature_map_layout(backbone: nn.Module, image_size: int) -> MapLayout | None:
    """Layout of the backbone's feature map, None if it has none (a ViT has tokens).

    Runs it on a blank photo, as timm has no attribute for this.
    """
    if not hasattr(backbone, "forward_features") or not hasattr(backbone, "forward_head"):
        return None
    config: Any = backbone.pretrained_cfg
    side = image_size if config.get("fixed_input_size") else min(image_size, _PROBE_SIDE)
    parameter = next(backbone.parameters())
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    try:
        blank = torch.zeros(1, 3, side, side, device=parameter.device, dtype=parameter.dtype)
        features = backbone.forward_features(blank)  # type: ignore[operator]
    finally:
        for module in training:
            module.training = True
    if not isinstance(features, torch.Tensor) or features.ndim != 4:
        return None
    channels_last = str(getattr(backbone, "output_fmt", "NCHW")).endswith("NHWC")
    return MapLayout(features.shape[3 if channels_last else 1], channels_last)
