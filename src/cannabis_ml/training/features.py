"""Features of a frozen backbone, computed once and kept on disk.

While the backbone is frozen a photo that is not augmented has the same features in every epoch.
Training heads on kept features takes milliseconds per step, and gives what training through the
backbone would, to rounding.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from cannabis_ml._io.allocator import keeping_memory
from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.files import written_aside
from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.training.data import EVALUATION, Batch, Item, Photos, make_loader
from cannabis_ml.training.schedule import TrainingParams
from cannabis_ml.training.spread import outputs_on_cluster
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

BATCH = 32
"""Photos at a time on a GPU."""

CPU_BATCH = 8
"""Photos at a time on a CPU: maps that stay in its caches take a third less time."""


def cached_features(
    network: HierarchicalNet,
    photos: Photos,
    training: TrainingParams,
    folder: Path,
) -> np.ndarray:
    """Features of every photo as it is, from disk where they are there already.

    Args:
        network: Its backbone, in evaluation mode, makes the features.
        photos: Which rows of the photo set.
        training: Workers, accelerator.
        folder: Where features are kept. Those of other weights, photos or sizes do not get in
            each other's way.

    Returns:
        float32 (len(photos), F), memory-mapped.
    """
    path = _path(network, photos, folder)
    if not path.is_file():
        with written_aside(path) as aside, aside.open("wb") as file:
            np.save(file, compute_features(network, photos, training), allow_pickle=False)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def kept_features(network: HierarchicalNet, photo_set: PhotoSet, folder: Path) -> np.ndarray | None:
    """Features of a whole photo set where `cached_features` has left them; None elsewhere.

    Args:
        network: As for `cached_features`.
        photo_set: All of whose rows were looked at, in order.
        folder: As for `cached_features`.

    Returns:
        float32 (len(photo_set), F), memory-mapped.
    """
    path = _path(network, all_photos(network, photo_set), folder)
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None


def all_photos(network: HierarchicalNet, photo_set: PhotoSet) -> Photos:
    """Every row of a photo set as it is, in order."""
    rows = np.arange(len(photo_set))
    return Photos(TrainingData(photo_set, network.taxonomy, rows), network.image_size)


def _path(network: HierarchicalNet, photos: Photos, folder: Path) -> Path:
    digest = hashlib.sha256(f"{photos.photo_set.fingerprint} {network.image_size}".encode())
    digest.update(photos.rows.tobytes())
    digest.update(weights_hash(network).encode())
    return folder / "features" / f"{digest.hexdigest()[:32]}.npy"


@keeping_memory()
def compute_features(
    network: HierarchicalNet, photos: Photos, training: TrainingParams, engine: Engine = THREADS
) -> np.ndarray:
    """Features of every photo as it is, BatchNorm in evaluation mode: float32 (len(photos), F).

    A photo that stands there several times is looked at once.

    Args:
        network: Its backbone makes the features.
        photos: Which rows of the photo set.
        training: Workers, accelerator.
        engine: On a cluster, its CPUs compute them.
    """
    gpu = training.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    before = network.training
    home = next(network.parameters()).device
    _, first, which = np.unique(photos.rows, return_index=True, return_inverse=True)
    if engine.is_cluster:
        rows = photos.rows[first]
        network.cpu().eval()
        try:
            batches = outputs_on_cluster(network, photos.photo_set, rows, CPU_BATCH, engine)
            return np.concatenate([batch.features for batch in batches])[which]
        finally:
            network.to(home).train(before)
    once = _AsTheyAre(photos, first)
    size = BATCH if gpu else CPU_BATCH
    loader = make_loader(once, batch_size=size, workers=training.workers, shuffle=False)
    parts = []
    network.to(device).eval()
    try:
        with torch.inference_mode():
            for batch in tqdm(loader, "features", unit="batch", leave=False, disable=None):
                pixels: Tensor = batch.photos.to(device, non_blocking=True)
                pixels = pixels.contiguous(memory_format=torch.channels_last)
                parts.append(network.embed(pixels).float().cpu().numpy())
    finally:
        network.to(home).train(before)
    return np.concatenate(parts)[which]


class _AsTheyAre(Dataset):
    """Some of a `Photos`' positions, not augmented."""

    def __init__(self, photos: Photos, positions: np.ndarray) -> None:
        self.photos, self.positions = photos, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: Item) -> Batch:
        return self.photos[EVALUATION, int(self.positions[item[1]])]


def weights_hash(network: HierarchicalNet) -> str:
    """SHA-256 of all that decides features: weights and statistics below the heads, scaling."""
    digest = hashlib.sha256(b"mirrored" if network.mirrored else b"")
    tensors = {n: t for n, t in network.state_dict().items() if not n.startswith("heads.")}
    tensors |= {"mean": network.mean, "std": network.std}
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(np.ascontiguousarray(tensors[name].detach().cpu().numpy()).tobytes())
    return digest.hexdigest()
