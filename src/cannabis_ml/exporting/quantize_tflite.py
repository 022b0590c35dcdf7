"""Quantization of TFLite files by ai-edge-quantizer.

Its rules match an operator's scope: the names of its output tensors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from cannabis_ml.exporting.held_back import held_back
from cannabis_ml.exporting.pooling import Operator, from_pooling_on
from cannabis_ml.inference.model_file import INPUT_NAME, SIGNATURE
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.networks.layers import FEWEST, Layer

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operator types whose second input is weights."""
_LOUD = ("absl", "root")


def quantize_tflite(
    data: bytes,
    quantization: str,
    photos: np.ndarray,
    keep_float: Collection[str] = (),
) -> bytes:
    """Quantize a float file in one of the ways of `QUANTIZATIONS`.

    Args:
        data: A float TFLite file with one signature, as `to_litert` writes it.
        quantization: Its name.
        photos: uint8 (N, S, S, 3), the model's input size; used by `static_int8` alone.
        keep_float: Names of layers, as from `tflite_layers`, that stay float32.

    Returns:
        The file, input and outputs as they were. Weights lie behind the flatbuffer, see
        `inline_weights`.
    """
    from ai_edge_quantizer.quantizer import Quantizer

    with held_back(*_LOUD):
        model = _read(data)
        rules = QUANTIZATIONS[quantization](model) + _leave([f"{name};" for name in keep_float])
        quantizer = Quantizer(bytearray(data), rules)
        statistics = _calibrate(data, rules, photos) if quantizer.need_calibration else None
        result = quantizer.quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
        assert result.quantized_model is not None
        return bytes(result.quantized_model)


def inline_weights(data: bytes) -> bytes:
    """Move weights that lie behind the flatbuffer into it, where every reader finds them."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = _read(data)
    for buffer in model.buffers:
        if buffer.data is not None:
            # Arrays are written at once; all else byte by byte, which takes seconds.
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_rounded_weights(
    data: bytes, groups: Sequence[Collection[str]]
) -> Iterator[tuple[Collection[str], bytes]]:
    """Files in which the weights of one group of layers alone are rounded to int8, kept as float32.

    They answer as files of `weight_only_int8` with all other layers in `keep_float`, but the
    quantizer runs once for all groups.

    Args:
        data: As for `quantize_tflite`.
        groups: Names of layers, as from `tflite_layers`.

    Yields:
        Each group with its file.
    """
    from ai_edge_litert import schema_py_generated as schema

    source = _read(data)
    (graph,) = source.subgraphs
    places = {
        scope.removesuffix(";"): graph.tensors[operator.inputs[1]].buffer
        for scope, kind, operator in _operators(source)
        if kind in WEIGHTED
    }
    rounded = _rounded_weights(quantize_tflite(data, "weight_only_int8", np.empty(0)))
    file = bytearray(data)
    root = schema.Model.GetRootAs(file)
    for group in groups:
        held = {name: root.Buffers(places[name]).DataAsNumpy() for name in group}
        before = {name: weights.copy() for name, weights in held.items()}
        for name, weights in held.items():
            weights[:] = np.frombuffer(rounded[name].tobytes(), np.uint8)
        yield group, bytes(file)
        for name, weights in held.items():
            weights[:] = before[name]


def _rounded_weights(data: bytes) -> dict[str, np.ndarray]:
    """Weights as a file of `weight_only_int8` restores them, float32, by layer."""
    model = _read(data)
    (graph,) = model.subgraphs
    operators = list(_operators(model))
    restored = {each.outputs[0]: each for _, kind, each in operators if kind == "DEQUANTIZE"}
    found = {}
    for scope, kind, operator in operators:
        if kind in WEIGHTED and operator.inputs[1] in restored:
            tensor = graph.tensors[restored[operator.inputs[1]].inputs[0]]
            steps = np.frombuffer(model.buffers[tensor.buffer].data, np.int8)
            scale = np.asarray(tensor.quantization.scale, np.float32)
            shape = [1] * len(tensor.shape)
            shape[tensor.quantization.quantizedDimension] = len(scale)
            weights = steps.reshape(tensor.shape).astype(np.float32) * scale.reshape(shape)
            found[scope.removesuffix(";")] = weights
    return found


def tflite_layers(data: bytes) -> list[Layer]:
    """Layers with enough float32 weights to be worth quantizing, in the order of the file."""
    layers = _weighted(_read(data))
    return [Layer(scope.removesuffix(";"), size) for scope, size in layers if size >= 4 * FEWEST]


def _read(data: bytes) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(data)


def _operators(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Scope, operator type and operator, in order of execution."""
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name
    from ai_edge_quantizer.utils.tfl_flatbuffer_utils import get_op_scope

    (graph,) = model.subgraphs
    for operator in graph.operators:
        kind = opcode_to_name(model, operator.opcodeIndex) or ""
        yield get_op_scope(operator, graph.tensors), kind, operator


def _weighted(model: Any) -> Iterator[tuple[str, int]]:
    """Scope and bytes of float weights of every layer that has them."""
    (graph,) = model.subgraphs
    for scope, kind, operator in _operators(model):
        if kind in WEIGHTED:
            held = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
            if held is not None:
                yield scope, len(held)


def _leave(scopes: Collection[str]) -> list[dict[str, Any]]:
    """Rules that exclude operators from quantization."""
    rule = {"regex": _any_of(scopes), "operation": "*", "algorithm_key": "no_quantize"}
    return [rule] if scopes else []


def _any_of(scopes: Collection[str]) -> str:
    """One expression for all: Python caches at most 512 compiled ones."""
    return f"^(?:{'|'.join(map(re.escape, scopes))})$"


def _weight_only_int8(model: Any) -> list[dict[str, Any]]:
    from ai_edge_quantizer import recipe

    return recipe.weight_only_wi8_afp32() + _small_layers(model)


def _dynamic_int8(model: Any) -> list[dict[str, Any]]:
    from ai_edge_quantizer import recipe

    return recipe.dynamic_wi8_afp32() + _small_layers(model)


def _float16(model: Any) -> list[dict[str, Any]]:
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import AlgorithmName, RecipeManager

    manager = RecipeManager()
    manager.add_weight_only_config(
        ".*", TFLOperationName.ALL_SUPPORTED, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
    )
    return manager.get_quantization_recipe() + _small_layers(model)


def _static_int8(model: Any) -> list[dict[str, Any]]:
    """Int8 activations from the first layer with weights to the last pooling; the rest stays float.

    Before are the photo itself and its scaling; after are the embedding, probabilities and
    their logarithms, which 256 steps cannot represent.
    """
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.add_weight_only_config(".*", TFLOperationName.ALL_SUPPORTED, 8)
    manager.add_static_config(_any_of(_feature_scopes(model)), TFLOperationName.ALL_SUPPORTED, 8, 8)
    return manager.get_quantization_recipe() + _small_layers(model)


def _small_layers(model: Any) -> list[dict[str, Any]]:
    return _leave([scope for scope, size in _weighted(model) if size < 4 * FEWEST])


def _feature_scopes(model: Any) -> list[str]:
    """Operators from the first layer with weights up to the last pooling, without it.

    Up to the operator of the embedding where nothing is pooled. Operators that give an output stay
    float32: the quantizer would move the output behind a new operator and leave the signature
    pointing at the tensor before it.
    """
    (signature,) = model.signatureDefs
    ends = {o.tensorIndex for o in signature.outputs}
    (embedding,) = (o.tensorIndex for o in signature.outputs if o.name.decode() == EMBEDDING)
    operators = list(_operators(model))
    before = {embedding}
    for _, _, operator in reversed(operators):
        if before & set(operator.outputs):
            before |= set(operator.inputs)
    stem = next((i for i, (_, kind, _) in enumerate(operators) if kind in WEIGHTED), 0)
    graph = [Operator(kind, each.inputs, each.outputs) for _, kind, each in operators]
    pooled = from_pooling_on(graph, stem, embedding)
    after: set[int] = set()
    scopes = []
    for position, (scope, kind, operator) in enumerate(operators):
        outputs = set(operator.outputs)
        if not before & outputs or ends & outputs or position in pooled:
            continue
        if kind in WEIGHTED or after & set(operator.inputs):
            after |= outputs
            scopes.append(scope)
    return scopes


def _calibrate(data: bytes, rules: list[dict[str, Any]], photos: np.ndarray) -> dict[str, Any]:
    """The smallest and largest value of every tensor over all photos.

    The quantizer's own default is a moving average, by which the first photo counts most and
    none counts whole.
    """
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    manager = RecipeManager()
    manager.load_quantization_recipe(rules)
    calibrator = Calibrator(data, num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({SIGNATURE: _inputs(photos)}, manager)
    return calibrator.get_model_qsvs()


def _inputs(photos: np.ndarray) -> Sequence[dict[str, np.ndarray]]:
    return [{INPUT_NAME: photo[None]} for photo in photos]


QUANTIZATIONS = {
    "weight_only_int8": _weight_only_int8,
    "dynamic_int8": _dynamic_int8,
    "static_int8": _static_int8,
    "float16": _float16,
}
