"""Export of a trained network as TFLite, for phones."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from cannabis_ml.exporting.file_card import UNKNOWN, Provenance, file_card
from cannabis_ml.exporting.held_back import held_back
from cannabis_ml.exporting.model_metadata import with_card
from cannabis_ml.exporting.quantize_tflite import WEIGHTED
from cannabis_ml.exporting.writers import require_writers
from cannabis_ml.inference.model_file import FLOAT, INPUT_NAME, SIGNATURE, ModelFile
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.network import ExportNet

import torch  # isort: skip
from torch import Tensor, nn

if TYPE_CHECKING:
    from cannabis_ml.networks.checkpoint import Checkpoint

_LOUD = ("absl", "jax", "litert_torch", "root", "torch.export", "torchao")

_CLASS = re.compile(r"^(?:\w+\.)*[A-Z]\w*?_(?=[a-z0-9])")

_OUTSIDE = "outside of modules"


def to_litert(checkpoint: Checkpoint, provenance: Provenance = UNKNOWN) -> ModelFile:
    """Convert a checkpoint through torch.export, preprocessing and probabilities included.

    Args:
        checkpoint: A trained network with its card.
        provenance: The tier, the run and the decision rule, for the file's card.

    Returns:
        A float file with one signature: input `photos`, uint8 (1, S, S, 3) RGB, one photo at a
        time, since the converter fails on a free batch size; the outputs of `ExportNet`,
        float32, by name.

    Raises:
        ExportError: If the converter is not installed.
    """
    require_writers(["tflite"])
    network = restore(checkpoint)
    size = network.image_size
    _fix_size(network, size)
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with held_back(*_LOUD):
        import litert_torch

        converted = litert_torch.convert(
            _Named(ExportNet(network)).eval(), sample_kwargs={INPUT_NAME: example}
        )
        data = _with_short_names(bytes(converted.model_content()))
    shapes = ExportNet(network).shapes()
    card = file_card(checkpoint, format="tflite", shapes=shapes, provenance=provenance)
    return with_card(ModelFile(data, "tflite", FLOAT), card)


class _Named(nn.Module):
    """Names the input: the converter takes the name of the argument."""

    def __init__(self, exported: ExportNet) -> None:
        super().__init__()
        self.exported = exported

    def forward(self, photos: Tensor) -> dict[str, Tensor]:
        return self.exported(photos)


def _fix_size(network: nn.Module, size: int) -> None:
    """Resize position embeddings beforehand: the converter does not support bicubic resizing."""
    for module in network.modules():
        if getattr(module, "dynamic_img_size", False):
            vit: Any = module
            vit.set_input_size(img_size=(size, size))
            # What timm sets where the size is known from the start.
            vit.dynamic_img_size, vit.patch_embed.flatten = False, True


def _with_short_names(data: bytes) -> bytes:
    """Name tensors after the modules they come from.

    The converter joins the class names of all enclosing modules, several hundred bytes per
    tensor: a twentieth of a quantized file.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(data)
    seen: Counter[str] = Counter()
    (graph,) = model.subgraphs
    for tensor in _layers_first(model, graph):
        name = module_path(tensor.name.decode())
        seen[name] += 1
        tensor.name = (name if seen[name] == 1 else f"{name} #{seen[name]}").encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _layers_first(model: Any, graph: Any) -> list[Any]:
    """All tensors; outputs of layers with weights first, as they get names without a number."""
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    given = [
        index
        for operator in graph.operators
        if opcode_to_name(model, operator.opcodeIndex) in WEIGHTED
        for index in operator.outputs
    ]
    order = dict.fromkeys([*given, *range(len(graph.tensors))])
    return [graph.tensors[index] for index in order]


def module_path(name: str) -> str:
    """Shorten a tensor's name to the attributes that lead to its module.

    `a.Named/a.ExportNet_exported/timm.x.EfficientNet_backbone/torch.nn.y.Conv2d_conv_pw;1` becomes
    `backbone.conv_pw`. Where operators were fused their names are joined, and the last is the
    layer with the weights.
    """
    if name.startswith(SIGNATURE) or "/" not in name:
        return name
    paths = [part.split(";")[0].split("/") for part in name.split(";;")]
    steps = next(path for path in reversed(paths) if len(path) > 1)[2:]
    if not steps:
        return _OUTSIDE
    attributes = [_CLASS.sub("", step) for step in steps]
    if attributes[0].isdigit():  # of a list, which is not called itself and so not in the path
        attributes[0] = steps[0].rpartition(".")[2]
    return ".".join(attributes)
