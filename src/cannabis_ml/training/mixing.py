"""Mixup and CutMix, with the labels of both photos."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mixed(NamedTuple):
    """A batch of mixed photos.

    The loss of a mixed photo is `share` times the loss with its own labels plus 1 - `share` times
    that with its partner's. This holds for every head: losses are linear in labels that can be
    mixed, and ordinal, partial and masked labels need not be mixed.

    Attributes:
        photos: float32 (N, 3, S, S) in [0, 255].
        partner: int64 (N,), position in the batch of the photo that each was mixed with.
        share: Of the photo itself, in [0, 1].
    """

    photos: Tensor
    partner: Tensor
    share: float


def mix(photos: Tensor, mixup: float, cutmix: float) -> Mixed | None:
    """Mix every photo with another of its batch.

    Draws from PyTorch's global generator.

    Args:
        photos: uint8 (N, 3, S, S).
        mixup: Alpha of the Beta distribution that the share is drawn from; 0: no mixup.
        cutmix: Likewise of the area; 0: no CutMix.

    Returns:
        None if both are off, or there is no other photo.
    """
    if (not mixup and not cutmix) or len(photos) < 2:
        return None
    cutting = cutmix > 0 and (not mixup or bool(torch.rand(()) < 0.5))
    alpha = torch.tensor(cutmix if cutting else mixup)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    # A rotation by one or more: no photo is mixed with itself.
    shift = int(torch.randint(1, len(photos), ()))
    partner = (torch.arange(len(photos), device=photos.device) + shift) % len(photos)
    pixels = photos.float()
    if not cutting:
        return Mixed(share * pixels + (1 - share) * pixels[partner], partner, share)
    height, width = photos.shape[2:]
    side = (1 - share) ** 0.5
    tall, wide = round(height * side), round(width * side)
    top = int(torch.randint(height - tall + 1, ()))
    left = int(torch.randint(width - wide + 1, ()))
    window = slice(top, top + tall), slice(left, left + wide)
    mixed = pixels.clone()
    mixed[:, :, *window] = pixels[partner][:, :, *window]
    return Mixed(mixed, partner, 1 - tall * wide / (height * width))
