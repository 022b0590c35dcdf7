"""Spatial attention over a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 64
"""Channels between the two convolutions."""


class SpatialAttention(nn.Module):
    """Multiply every position of a feature map by a learned weight.

    1x1 convolution to 64 channels, ReLU, 1x1 convolution to one, sigmoid. Weights are divided by
    their mean first, which leaves the scale of the features alone. Initially all positions weigh
    the same: a pretrained backbone gives exactly the features that it gives without attention, so
    that features cached before attention is trained stay valid.

    Args:
        channels: Of the feature map.
        channels_last: Whether the map comes as (N, h, w, channels).
    """

    def __init__(self, channels: int, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.squeeze = nn.Conv2d(channels, HIDDEN, 1)
        self.weigh = nn.Conv2d(HIDDEN, 1, 1)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, h, w) -> the same, attended; and the map, (N, h, w) within (0, 1)."""
        if self.channels_last:
            features = features.permute(0, 3, 1, 2)
        weight = torch.sigmoid(self.weigh(torch.relu(self.squeeze(features))))
        attended = features * (weight / weight.mean(dim=(2, 3), keepdim=True))
        if self.channels_last:
            attended = attended.permute(0, 2, 3, 1)
        return attended, weight.squeeze(1)
