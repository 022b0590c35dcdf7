"""Photos that are part one photo, part another, with the labels of both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mixed(NamedTuple):
    """A batch of mixtures.

    The loss of a mixture is `share` times the loss with its own labels plus the rest with its
    partner's. That is right for every head: the losses are linear in the labels where labels can
    be mixed, and ordinal, partial and masked labels need not be.

    Attributes:
        photos: float32 (N, 3, S, S), in uint8's range.
        partner: int64 (N,), which photo of the batch each was mixed with.
        share: Of the photo itself, 0 to 1.
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
        None where both are off, or there is no other photo.
    """
    if (not mixup and not cutmix) or len(photos) < 2:
        return None
    cutting = cutmix > 0 and (not mixup or bool(torch.rand(()) < 0.5))
    alpha = torch.tensor(cutmix if cutting else mixup)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    # A rotation by one or more: nobody is mixed with itself.
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
