"""Write a trained network as ONNX."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cannabis_ml.inference.onnx_tier import INPUT_NAME, METADATA_KEY
from cannabis_ml.models.network import ExportNet, restore
from cannabis_ml.photos.resize import fit

import torch  # isort: skip

if TYPE_CHECKING:
    import onnx

    from cannabis_ml.datasets.checkpoint import Checkpoint


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Export a checkpoint through torch.export, preprocessing and probabilities included.

    Args:
        checkpoint: A trained network with its card.

    Returns:
        A checked model: input `photos`, uint8 (N, S, S, 3) RGB with any N; the outputs of
        `ExportNet`, float32, by name; the checkpoint's card as JSON metadata.
    """
    import onnx

    network = restore(checkpoint)
    exported = ExportNet(network).eval()
    size = network.image_size
    # An example batch of one would freeze the batch dimension.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with _quietly():
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
    card = {
        **checkpoint.card,
        "input": f"uint8 RGB (N, {size}, {size}, 3)",
        "outputs": "float32 (N, K) probabilities per head, in the order of the taxonomy's classes;"
        " (N, F) embedding; (N,) uncertainty per head in nats, where heads have several members",
    }
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(card, ensure_ascii=False)})
    onnx.checker.check_model(model)
    return model


@torch.inference_mode()
def torch_answers(
    checkpoint: Checkpoint, photos: Sequence[np.ndarray], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """What the checkpoint itself says in PyTorch, to hold exported models against.

    Args:
        checkpoint: A trained network with its card.
        photos: Each uint8 RGB (height, width, 3).
        batch_size: How many photos the network sees at once.

    Returns:
        Per head, float32 (N, K) probabilities in class order.
    """
    network = restore(checkpoint)
    exported = ExportNet(network).eval()
    pixels = [torch.from_numpy(fit(photo, network.image_size)) for photo in photos]
    batches = [exported(torch.stack(batch)) for batch in _batched(pixels, batch_size)]
    heads = [head.name for head in network.taxonomy.heads]
    return {name: torch.cat([b[name] for b in batches]).numpy() for name in heads}


def _placeholder(name: str) -> str:
    return f"output called {name}"


def _name_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Give outputs their names, also where a value inside has such a name.

    The exporter names inner values after operators (`linear`, `sigmoid`); a head may be called so.
    """
    renamed = {name: f"inner {name}" for name in names} | {_placeholder(n): n for n in names}
    graph = model.graph
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info, *graph.output):
        value.name = renamed.get(value.name, value.name)


def _batched(items: list[torch.Tensor], size: int) -> Iterator[list[torch.Tensor]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back the exporter's progress prints and its warnings about its own internals."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loud]
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loud, levels, strict=True):
            logger.setLevel(level)
