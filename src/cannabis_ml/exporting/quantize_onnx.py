"""Quantization of ONNX files by ONNX Runtime; of weights alone by our own code."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cannabis_ml.exporting.held_back import held_back
from cannabis_ml.exporting.pooling import Operator, from_pooling_on
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.networks.layers import FEWEST, Layer

if TYPE_CHECKING:
    import onnx

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_MULTIPLIED = ("Gemm", "MatMul")
_STATIC = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool")

REDUCED_RANGE = True
"""Weights of integer matrix products lie in -64 to 64.

On x86 without VNNI, ONNX Runtime multiplies unsigned activations and signed weights by
`vpmaddubsw`, which adds two products in 16 bits and saturates: 2 x 255 x 127 = 64,770 does not fit,
and the outputs are silently wrong. 2 x 255 x 64 = 32,640 is below 32,767 whatever the photo.
"""

_LOUD = ("root", "onnxruntime")


def quantize_onnx(
    data: bytes,
    quantization: str,
    photos: np.ndarray,
    keep_float: Collection[str] = (),
) -> bytes:
    """Quantize a float file in one of the ways of `QUANTIZATIONS`.

    Args:
        data: A float ONNX file, as `to_onnx` writes it.
        quantization: Its name.
        photos: uint8 (N, S, S, 3), the model's input size; used by `static_int8` alone.
        keep_float: Names of layers, as from `onnx_layers`, that stay float32.

    Returns:
        The file, input and outputs as they were.
    """
    import onnx

    with held_back(*_LOUD):
        model = prepared(data)
        chosen = [layer.name for layer in _layers(model) if layer.name not in set(keep_float)]
        quantized = QUANTIZATIONS[quantization](model, chosen, photos)
        onnx.checker.check_model(quantized)
        return quantized.SerializeToString()


def with_rounded_weights(
    data: bytes, groups: Sequence[Collection[str]]
) -> Iterator[tuple[Collection[str], bytes]]:
    """Files in which the weights of one group of layers alone are rounded to int8, kept as float32.

    They answer as files of `weight_only_int8` with all other layers in `keep_float`, but the model
    is prepared once for all groups.

    Args:
        data: As for `quantize_onnx`.
        groups: Names of layers, as from `onnx_layers`.

    Yields:
        Each group with its file.
    """
    with held_back(*_LOUD):
        model = prepared(data)
    for group in groups:
        yield group, _replace_weights(model, group, _as_rounded).SerializeToString()


def onnx_layers(data: bytes) -> list[Layer]:
    """Layers with enough float32 weights to be worth quantizing, in the order of the file."""
    with held_back(*_LOUD):
        return _layers(prepared(data))


def prepared(data: bytes) -> onnx.ModelProto:
    """Fold constants and fusible nodes, and give every node a name."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(data)
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        made = onnx.load(target)
    # Shapes recorded by the exporter contradict those that the quantizer infers.
    del made.graph.value_info[:]
    for i, node in enumerate(made.graph.node):
        node.name = node.name or f"{node.op_type} {i}"
    return made


def _layers(model: onnx.ModelProto) -> list[Layer]:
    return [
        Layer(node.name, 4 * weights.size)
        for node, weights, _ in _weighted(model)
        if weights.size >= FEWEST
    ]


def _weighted(model: onnx.ModelProto) -> Iterator[tuple[Any, np.ndarray, int]]:
    """Node, its float weights, and the axis of its outputs in them."""
    from onnx import numpy_helper

    held = {i.name: i for i in model.graph.initializer if i.data_type == 1}
    for node in model.graph.node:
        if node.op_type in _WEIGHTED and node.input[1] in held:
            weights = numpy_helper.to_array(held[node.input[1]])
            yield node, weights, _output_axis(node, weights)


def _output_axis(node: Any, weights: np.ndarray) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else weights.ndim - 1


def _weight_only_int8(
    model: onnx.ModelProto, chosen: list[str], photos: np.ndarray
) -> onnx.ModelProto:
    return _replace_weights(model, chosen, _as_int8)


def _float16(model: onnx.ModelProto, chosen: list[str], photos: np.ndarray) -> onnx.ModelProto:
    return _replace_weights(model, chosen, _as_float16)


def _dynamic_int8(model: onnx.ModelProto, chosen: list[str], photos: np.ndarray) -> onnx.ModelProto:
    """Multiplications in whole numbers; convolutions, which are slower so, by weights alone."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    able = {
        node.name
        for node, weights, axis in _weighted(model)
        # With a single output ONNX Runtime takes what is added next for its bias, and fails.
        if node.op_type in _MULTIPLIED and weights.shape[axis] > 1
    }
    multiplied = [name for name in chosen if name in able]
    model = _replace_weights(model, [name for name in chosen if name not in able], _as_int8)
    if not multiplied:
        return model
    return _through_files(
        model,
        lambda source, target: quantize_dynamic(
            source,
            target,
            # The quantizer makes a MatMul of each Gemm first, and names it so.
            nodes_to_quantize=[*multiplied, *(f"{name}_MatMul" for name in multiplied)],
            op_types_to_quantize=list(_MULTIPLIED),
            per_channel=True,
            reduce_range=REDUCED_RANGE,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        ),
    )


def _static_int8(model: onnx.ModelProto, chosen: list[str], photos: np.ndarray) -> onnx.ModelProto:
    """Int8 activations from the first layer with weights to the last pooling; the rest stays float.

    Before are the photo itself and its scaling; after are the embedding, probabilities and
    their logarithms, which 256 steps cannot represent.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    inside = _feature_nodes(model)
    others = {layer.name for layer in _layers(model)} - set(chosen)
    nodes = [n for n in inside if n not in others]
    heads = [name for name in chosen if name not in set(inside)]
    model = _replace_weights(model, heads, _as_int8)
    return _through_files(
        model,
        lambda source, target: quantize_static(
            source,
            target,
            _Photos(model.graph.input[0].name, photos),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=REDUCED_RANGE,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        ),
    )


def _feature_nodes(model: onnx.ModelProto) -> list[str]:
    """Nodes from the first layer with weights to the last pooling, of operator types in `_STATIC`.

    To the embedding where nothing is pooled.
    """
    nodes = model.graph.node
    before = {EMBEDDING}
    for node in reversed(nodes):
        if before & set(node.output):
            before |= set(node.input)
    weighted = {node.name for node, _, _ in _weighted(model)}
    stem = next((i for i, node in enumerate(nodes) if node.name in weighted), 0)
    operators = [Operator(node.op_type, node.input, node.output) for node in nodes]
    pooled = from_pooling_on(operators, stem, EMBEDDING)
    after: set[str] = set()
    names = []
    for position, node in enumerate(nodes):
        if not before & set(node.output) or position in pooled:
            continue
        if node.name in weighted or after & set(node.input):
            after |= set(node.output)
            if node.op_type in _STATIC:
                names.append(node.name)
    return names


class _Photos:
    """Calibration data reader for ONNX Runtime: one photo at a time."""

    def __init__(self, name: str, photos: np.ndarray) -> None:
        self._feeds = iter([{name: photo[None]} for photo in photos])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _through_files(model: onnx.ModelProto, work: Any) -> onnx.ModelProto:
    """Call `work(source, target)` on temporary files: ONNX Runtime's quantizers take paths."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder) / "source.onnx"), str(Path(folder) / "target.onnx")
        onnx.save(model, source)
        work(source, target)
        return onnx.load(target)


def _replace_weights(model: onnx.ModelProto, chosen: Collection[str], store: Any) -> Any:
    """Store the weights of chosen nodes in fewer bits, with nodes that restore float32."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    stored: dict[str, str] = {}  # old name to new, as nodes may share weights
    first = []
    for node, weights, axis in list(_weighted(changed)):
        if node.name not in set(chosen):
            continue
        name = node.input[1]
        if name not in stored:
            stored[name] = f"{name} restored"
            nodes, tensors = store(name, stored[name], weights, axis)
            first += nodes
            graph.initializer.extend(tensors)
        node.input[1] = stored[name]
    used = {name for node in graph.node for name in node.input}
    kept = [i for i in graph.initializer if i.name in used or i.name not in stored]
    nodes = [*first, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return changed


def _in_steps(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole steps, int8, and the width of a step for each output."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weights / scale), -127, 127).astype(np.int8), scale


def _as_rounded(
    name: str, restored: str, weights: np.ndarray, axis: int
) -> tuple[list[Any], list[Any]]:
    from onnx import numpy_helper

    steps, scale = _in_steps(weights, axis)
    return [], [numpy_helper.from_array(steps.astype(np.float32) * scale, restored)]


def _as_int8(
    name: str, restored: str, weights: np.ndarray, axis: int
) -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper, numpy_helper

    steps, scale = _in_steps(weights, axis)
    whole, factor, cast = f"{name} int8", f"{name} scale", f"{name} cast"
    nodes = [
        helper.make_node("Cast", [whole], [cast], name=f"{name} to float", to=TensorProto.FLOAT),
        helper.make_node("Mul", [cast, factor], [restored], name=f"{name} scaled"),
    ]
    return nodes, [numpy_helper.from_array(steps, whole), numpy_helper.from_array(scale, factor)]


def _as_float16(
    name: str, restored: str, weights: np.ndarray, axis: int
) -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper, numpy_helper

    half = f"{name} float16"
    nodes = [
        helper.make_node("Cast", [half], [restored], name=f"{name} to float", to=TensorProto.FLOAT)
    ]
    limit = float(np.finfo(np.float16).max)
    tensor = np.clip(weights, -limit, limit).astype(np.float16)
    return nodes, [numpy_helper.from_array(tensor, half)]


QUANTIZATIONS = {
    "weight_only_int8": _weight_only_int8,
    "dynamic_int8": _dynamic_int8,
    "static_int8": _static_int8,
    "float16": _float16,
}
