"""Grad-CAM: which places of a photo speak for a class.

    python -m cannabis_ml.networks.grad_cam CHECKPOINT PHOTO… --folder FOLDER

The attention map of a model file weighs places for all heads together; this asks one class of one
head, and needs the trained network, hence PyTorch. The pytorch-grad-cam library is not used: it
brings a second OpenCV into the environment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cannabis_ml.errors import CannabisMLError, CheckpointError, TaxonomyError
from cannabis_ml.inference.decision import SMALLEST, Decision
from cannabis_ml.inference.heat_map import attention_heat_map, file_name, save_png
from cannabis_ml.networks.attention import SpatialAttention
from cannabis_ml.networks.backbones import FusedBackbone, branches_of, feature_map_layout
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.decoding import marginals
from cannabis_ml.networks.network import ExportNet, HierarchicalNet
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.photos.unreadable import UnreadableError
from cannabis_ml.text import did_you_mean

_SUREST = 1 - 1e-15
"""The log-odds of 1 are infinite."""


def grad_cam(
    network: HierarchicalNet, photo: np.ndarray, head_name: str, class_name: str
) -> np.ndarray:
    """Where in a photo the evidence for a class lies (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    A channel's weight is the mean over places of the gradient of the class's score; the map is the
    weighted sum of the channels of the last feature map, as attention leaves it, without what is
    negative. The score is the log-odds of the class, by the network's uncalibrated probabilities.

    Args:
        network: In evaluation mode.
        photo: uint8 RGB (height, width, 3), upright; its centre square is seen.
        head_name: Whose class.
        class_name: Which.

    Returns:
        float32 (h, w), 0 to 1, the largest 1; all 0 where no place speaks for the class. Of several
        fused backbones, of the first with a feature map.

    Raises:
        TaxonomyError: If there is no such head or class.
        CheckpointError: If the network has no feature map, as a vision transformer, or experts
            answer the head.
    """
    index = _index(network, head_name, class_name)
    if network.experts is not None and network.experts.head == head_name:
        raise CheckpointError(
            f"'{head_name}' is answered by {len(network.experts.names)} networks, each with its own"
            f" map: ask for '{network.taxonomy[head_name].parent}', or for a heat map of the"
            " bundle, which blurs parts of the photo in turn."
        )
    side = network.image_size
    pixels = torch.from_numpy(center_crop_resize(photo, side)).permute(2, 0, 1)[None]
    with torch.enable_grad():
        features, seen, channels_last = embed_with_map(network, pixels)
        if network.experts is not None:
            features = torch.cat([features, network.experts.embed(pixels)], dim=1)
        logits = network.classify(features)
        # In float64, so that log-odds of a sure answer still have a gradient.
        exact = {name: values.double() for name, values in logits.items()}
        probs = marginals(exact, network.taxonomy)[head_name][0, index]
        probs = probs.clamp(SMALLEST, _SUREST)
        (gradient,) = torch.autograd.grad(torch.log(probs) - torch.log1p(-probs), seen)
    channels, places = (3, (1, 2)) if channels_last else (1, (2, 3))
    weights = gradient.mean(dim=places, keepdim=True)
    evidence = functional.relu((weights * seen.detach()).sum(dim=channels))[0].double()
    largest = evidence.max()
    return (evidence / largest if largest > 0 else evidence).float().numpy()


def _index(network: HierarchicalNet, head_name: str, class_name: str) -> int:
    heads = {head.name: head for head in network.taxonomy.heads}
    if head_name not in heads:
        raise TaxonomyError(
            f"There is no head '{head_name}'; there are {', '.join(heads)}"
            f"{did_you_mean(head_name, heads)}."
        )
    names = heads[head_name].class_names
    if class_name not in names:
        raise TaxonomyError(
            f"'{head_name}' has no class '{class_name}'; it has {', '.join(names)}"
            f"{did_you_mean(class_name, names)}."
        )
    return names.index(class_name)


def embed_with_map(network: HierarchicalNet, photos: Tensor) -> tuple[Tensor, Tensor, bool]:
    """uint8 (N, 3, S, S) RGB -> float (N, F), as `HierarchicalNet.embed`, and what it stands on.

    Returns:
        The features; the last feature map, as attention leaves it, of the photo itself where its
        mirror image is looked at too; and whether its channels come last.

    Raises:
        CheckpointError: If there is no feature map.
    """
    pixels = ((photos.float() - network.mean) / network.std).requires_grad_()
    features, seen, channels_last = _look(network, pixels)
    if network.mirrored:
        features = (features + _look(network, pixels.flip(-1))[0]) / 2
    return features, seen, channels_last


def _look(network: HierarchicalNet, pixels: Tensor) -> tuple[Tensor, Tensor, bool]:
    """The same of normalized pixels, once."""
    backbone = network.backbone
    branches = branches_of(backbone)
    views = backbone.views(pixels) if isinstance(backbone, FusedBackbone) else [pixels]
    attention = network.attention or [torch.nn.Identity()] * len(branches)
    features, first = [], None
    for branch, attend, view in zip(branches, attention, views, strict=True):
        layout = feature_map_layout(branch, network.image_size)
        if layout is None:
            features.append(branch(view))
            continue
        seen = branch.forward_features(view)  # type: ignore[operator]
        if isinstance(attend, SpatialAttention):
            seen, _ = attend(seen)
        features.append(branch.forward_head(seen))  # type: ignore[operator]
        first = first or (seen, layout.channels_last)
    if first is None:
        raise CheckpointError(
            "The network has no feature map to look at: its backbone is not a convolutional one."
        )
    return torch.cat(features, dim=1), *first


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw heat maps; returns the exit status, 1 where some photo had none."""
    parser = argparse.ArgumentParser(
        prog="python -m cannabis_ml.networks.grad_cam",
        description="Draw which places of photos speak for a class, by Grad-CAM.",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of a tier")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where heat maps are written")
    parser.add_argument("--head", help="default: the first")
    parser.add_argument("--class", dest="class_name", help="default: what is answered")
    options = parser.parse_args(arguments)
    try:
        network = restore(Checkpoint.read(options.checkpoint))
        failed = sum(not _drawn(network, path, options) for path in options.photos)
    except (CannabisMLError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def _drawn(network: HierarchicalNet, path: Path, options: argparse.Namespace) -> bool:
    head = options.head or network.taxonomy.heads[0].name
    try:
        photo = decode(path.read_bytes())
    except (UnreadableError, OSError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False
    name = options.class_name or _answer(network, photo, head)
    if name is None:
        print(f"{path}: no class of '{head}' is answered", file=sys.stderr)
        return False
    evidence = grad_cam(network, photo, head, name)
    if not evidence.any():
        print(f"{path}: no place speaks for {head} {name}", file=sys.stderr)
        return False
    target = options.folder / file_name(path.name, f"{head}.{name}.grad_cam")
    save_png(attention_heat_map(photo, evidence).image, target)
    print(f"{path}: {target} shows what speaks for {head} {name}")
    return True


@torch.inference_mode()
def _answer(network: HierarchicalNet, photo: np.ndarray, head: str) -> str | None:
    square = center_crop_resize(photo, network.image_size)
    outputs = {k: v.numpy() for k, v in ExportNet(network)(torch.from_numpy(square)[None]).items()}
    decided = Decision(network.taxonomy).named(outputs).get(head, [None])[0]
    return next(iter(decided), None) if isinstance(decided, list) else decided


if __name__ == "__main__":
    sys.exit(main())
