"""What a network makes of many photos, computed by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from cannabis_ml._io.engine import Engine
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.photos.stored import decode_stored
from cannabis_ml.training.module import channels_last


class Outputs(NamedTuple):
    """Of a batch of N photos.

    Attributes:
        features: float32 (N, F).
        logits: Per head float32 (N, M, C), as from `HierarchicalNet.classify`.
    """

    features: np.ndarray
    logits: dict[str, np.ndarray]


def outputs_on_cluster(
    network: HierarchicalNet, photo_set: PhotoSet, rows: np.ndarray, batch: int, engine: Engine
) -> Iterator[Outputs]:
    """Show photos as they are to a network, a batch after the other, in order.

    Workers get the stored photos themselves, so they need not reach the photo set; the network
    travels once. Up to rounding the outputs are those of this machine.

    Args:
        network: On the CPU, in evaluation mode.
        photo_set: Stored photos.
        rows: Which of them.
        batch: Photos at a time.
        engine: The cluster.
    """
    stored = (
        [photo_set.stored(int(row)) for row in rows[start : start + batch]]
        for start in range(0, len(rows), batch)
    )
    call = _Network(channels_last(network))
    return map_in_order(call, stored, engine=engine.for_items_of(batch))


@dataclass(frozen=True)
class _Network:
    """A network that takes photos as files; picklable."""

    network: HierarchicalNet

    def __call__(self, stored: list[bytes]) -> Outputs:
        size = self.network.image_size
        pixels = [center_crop_resize(decode_stored(data), size) for data in stored]
        photos = torch.from_numpy(np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            embedded = self.network.embed(photos.contiguous(memory_format=torch.channels_last))
            logits = self.network.classify(embedded)
        found = {name: values.float().numpy() for name, values in logits.items()}
        return Outputs(embedded.float().numpy(), found)
