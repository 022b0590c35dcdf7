"""Export of a trained network as ONNX."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cannabis_ml.exporting.file_card import UNKNOWN, Provenance, file_card
from cannabis_ml.exporting.held_back import held_back
from cannabis_ml.exporting.model_metadata import with_card
from cannabis_ml.exporting.writers import require_writers
from cannabis_ml.inference.model_file import FLOAT, INPUT_NAME, ModelFile
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.network import ExportNet
from cannabis_ml.photos.resize import center_crop_resize

import torch  # isort: skip

if TYPE_CHECKING:
    import onnx

    from cannabis_ml.networks.checkpoint import Checkpoint

_LOUD = ("torch.onnx", "onnxscript", "torch.export")

_NETWORK, _WEIGHT = "network.", ".weight"


def to_onnx(checkpoint: Checkpoint, provenance: Provenance = UNKNOWN) -> ModelFile:
    """Export a checkpoint through torch.export, preprocessing and probabilities included.

    Args:
        checkpoint: A trained network with its card.
        provenance: The tier, the run and the decision rule, for the file's card.

    Returns:
        A checked float file: input `photos`, uint8 (N, S, S, 3) RGB with any N; the outputs of
        `ExportNet`, float32, by name.

    Raises:
        ExportError: If the exporter is not installed.
    """
    require_writers(["onnx"])
    import onnx

    network = restore(checkpoint)
    exported = ExportNet(network).eval()
    size = network.image_size
    # An example batch of one would freeze the batch dimension.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with held_back(*_LOUD):
        program = torch.onnx.export(
            exported,
            (example,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[_placeholder(name) for name in exported.outputs],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None  # only an export straight to a file returns nothing
    model: onnx.ModelProto = program.model_proto
    _name_outputs(model, exported.outputs)
    _name_nodes(model)
    onnx.checker.check_model(model)
    shapes = exported.shapes()
    card = file_card(checkpoint, format="onnx", shapes=shapes, provenance=provenance)
    return with_card(ModelFile(model.SerializeToString(), "onnx", FLOAT), card)


@torch.inference_mode()
def torch_outputs(
    checkpoint: Checkpoint, photos: Sequence[np.ndarray], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Outputs of the checkpoint in PyTorch: the reference for exported files.

    Args:
        checkpoint: A trained network with its card.
        photos: Each uint8 RGB (height, width, 3).
        batch_size: Photos per forward pass.

    Returns:
        Every output of `ExportNet` by name, float32 (N, …): probabilities (N, K) per head, in
        class order, first.
    """
    network = restore(checkpoint)
    exported = ExportNet(network).eval()
    pixels = [torch.from_numpy(center_crop_resize(photo, network.image_size)) for photo in photos]
    batches = [exported(torch.stack(batch)) for batch in _batched(pixels, batch_size)]
    return {name: torch.cat([b[name] for b in batches]).numpy() for name in exported.outputs}


def _placeholder(name: str) -> str:
    return f"output {name}"


def _name_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Name the outputs, also where an inner value has the same name.

    The exporter names inner values after operators (`linear`, `sigmoid`); a head may be called so.
    """
    renamed = {name: f"inner {name}" for name in names} | {_placeholder(n): n for n in names}
    graph = model.graph
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info, *graph.output):
        value.name = renamed.get(value.name, value.name)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name nodes after the modules they come from, and drop the exporter's metadata.

    It holds stack traces with the paths of the machine that exported.
    """
    weights = {i.name for i in model.graph.initializer if i.name.endswith(_WEIGHT)}
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        # A convolution fused with what follows has its metadata, but weights of its own name.
        own = [name.removesuffix(_WEIGHT) for name in node.input if name in weights]
        name = own[0].removeprefix(_NETWORK) if own else _module_path(node) or node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name} #{seen[name]}"
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]


def _module_path(node: Any) -> str:
    """`backbone.blocks.1.0.conv_pw` from the exporter's metadata; empty outside of modules."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    return scopes[-2].removeprefix(_NETWORK) if len(scopes) > 1 else ""


def _batched(items: list[torch.Tensor], size: int) -> Iterator[list[torch.Tensor]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
