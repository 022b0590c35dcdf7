"""Quantization of exported model files, and the error that it causes in each layer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from cannabis_ml.errors import ExportError
from cannabis_ml.exporting.model_metadata import with_card
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.predictor import Predictor, open_model
from cannabis_ml.networks.layers import Layer
from cannabis_ml.text import one_line

Quantization = Literal["weight_only_int8", "dynamic_int8", "static_int8", "mixed", "float16"]
"""Name of a quantization scheme; each exists for both formats.

- `weight_only_int8`: int8 weights, converted to float32 when the model is opened.
- `dynamic_int8`: int8 weights; their inputs are quantized photo by photo.
- `static_int8`: int8 weights and activations, in ranges measured on calibration photos.
- `mixed`: `weight_only_int8`, but float32 for the layers that it harms most.
- `float16`: float16 weights, converted to float32 when the model is opened.
"""

QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)
"""All names, in the order of the reports."""

KEPT_SHARES = (0.02, 0.05, 0.1, 0.2)
"""Shares of the weights that `mixed` may keep in float32, to be tried in this order: files of about
28, 30, 34 and 42% of the float file's size."""

NEED_PHOTOS = ("static_int8", "mixed")
"""Quantizations that need calibration photos."""

PROBES = 4
"""Photos on which the errors of layers are measured."""

MOST_GROUPS = 64
"""Layers are grouped by module until there are at most this many groups to measure."""


def quantize(
    model: ModelFile, quantization: str, photos: np.ndarray, kept_share: float = KEPT_SHARES[0]
) -> ModelFile:
    """Quantize a float file.

    Args:
        model: A float file.
        quantization: One of `QUANTIZATIONS`.
        photos: uint8 (N, S, S, 3) of the calibration split; may be empty but for `NEED_PHOTOS`.
        kept_share: Largest share of the bytes of all weights that `mixed` keeps in float32.

    Returns:
        The smaller file with the same input, outputs and card, but for the card's `quantization`.

    Raises:
        ExportError: If this network cannot be quantized so, with the quantizer's own message; or
            if calibration photos are needed and there are none.
    """
    if quantization in NEED_PHOTOS and not len(photos):
        raise ExportError(f"{quantization} needs photos in the calibration split; there are none")
    if quantization == "mixed":
        kept = fragile_layers(model, photos, kept_share)
        data = _apply(model, "weight_only_int8", photos, kept)
    else:
        data = _apply(model, quantization, photos)
    if model.format == "tflite":
        from cannabis_ml.exporting.quantize_tflite import inline_weights

        data = inline_weights(data)
    card = model.card.model_copy(update={"quantization": quantization})
    return with_card(ModelFile(data, model.format, quantization), card)


def fragile_layers(
    model: ModelFile, photos: np.ndarray, share: float = KEPT_SHARES[0]
) -> list[str]:
    """Layers with the largest error per byte under int8 weights, up to a share of all weights.

    Args:
        model: A float file.
        photos: As for `quantize`.
        share: Of the bytes of all weights.
    """
    size = {layer.name: layer.size for layer in layers_of(model)}
    left = share * sum(size.values())
    fragile: list[str] = []
    weighed = [
        (change / sum(size[name] for name in group), group)
        for group, change in layer_errors(model, "weight_only_int8", photos)
    ]
    for _, group in sorted(weighed, reverse=True):
        needed = sum(size[name] for name in group)
        if needed <= left:
            left -= needed
            fragile += group
    return fragile


def layer_errors(
    model: ModelFile, quantization: str, photos: np.ndarray
) -> list[tuple[tuple[str, ...], float]]:
    """Error of the probabilities when one layer, or a few of one module, are quantized alone.

    The result for the last model is cached, as `mixed` tries several shares of it.

    Args:
        model: A float file.
        quantization: One of `QUANTIZATIONS`; `mixed` is measured as
            `weight_only_int8`.
        photos: As for `quantize`; the first `PROBES` are used.

    Returns:
        Names of the layers, and the largest |change| of a probability, averaged over heads and
        photos; the worst first.
    """
    quantization = "weight_only_int8" if quantization == "mixed" else quantization
    key = (hashlib.sha256(model.data + photos[:PROBES].tobytes()).digest(), quantization)
    if key not in _LAYER_ERRORS:
        _LAYER_ERRORS.clear()
        _LAYER_ERRORS[key] = _layer_errors(model, quantization, photos)
    return _LAYER_ERRORS[key]


_LAYER_ERRORS: dict[tuple[bytes, str], list[tuple[tuple[str, ...], float]]] = {}


def _layer_errors(
    model: ModelFile, quantization: str, photos: np.ndarray
) -> list[tuple[tuple[str, ...], float]]:
    probes = photos[:PROBES]
    predictor = open_model(model, threads=1)
    expected = _probabilities(predictor, probes)
    errors = []
    for group, data in _quantized_alone(model, quantization, probes):
        probe = with_card(ModelFile(data, model.format, quantization), model.card)
        given = _probabilities(open_model(probe, threads=1), probes)
        changes = [np.abs(given[h] - expected[h]).max(axis=1).mean() for h in expected]
        errors.append((tuple(group), float(np.mean(changes))))
    return sorted(errors, key=lambda pair: -pair[1])


def _quantized_alone(
    model: ModelFile, quantization: str, probes: np.ndarray
) -> Iterator[tuple[Collection[str], bytes]]:
    """Groups of layers, each with a file in which it alone is quantized."""
    layers = layers_of(model)
    groups = grouped(layers)
    if quantization == "weight_only_int8":
        if model.format == "tflite":
            from cannabis_ml.exporting.quantize_tflite import with_rounded_weights
        else:
            from cannabis_ml.exporting.quantize_onnx import with_rounded_weights
        yield from with_rounded_weights(model.data, groups)
        return
    for group in groups:
        others = [layer.name for layer in layers if layer.name not in group]
        yield group, _apply(model, quantization, probes, others)


def layers_of(model: ModelFile) -> list[Layer]:
    """Layers that can be quantized, in the order of the file."""
    if model.format == "tflite":
        from cannabis_ml.exporting.quantize_tflite import tflite_layers

        return tflite_layers(model.data)
    from cannabis_ml.exporting.quantize_onnx import onnx_layers

    return onnx_layers(model.data)


def grouped(layers: list[Layer], most: int = MOST_GROUPS) -> list[tuple[str, ...]]:
    """Names of layers, those of one module in one group where there are more than `most`."""
    names = [layer.name for layer in layers]
    depth = max((name.count(".") + 1 for name in names), default=1)
    groups: list[tuple[str, ...]] = [(name,) for name in names]
    while len(groups) > most and depth > 1:
        depth -= 1
        groups = list(_by_module(names, depth))
    return groups


def _by_module(names: list[str], depth: int) -> Iterator[tuple[str, ...]]:
    for _, members in groupby(names, key=lambda name: name.split(".")[:depth]):
        yield tuple(members)


def _apply(
    model: ModelFile, quantization: str, photos: np.ndarray, keep_float: Collection[str] = ()
) -> bytes:
    if quantization not in QUANTIZATIONS:
        raise ExportError(
            f"'{quantization}' is not a quantization: choose from {', '.join(QUANTIZATIONS)}."
        )
    try:
        if model.format == "tflite":
            from cannabis_ml.exporting.quantize_tflite import quantize_tflite

            return quantize_tflite(model.data, quantization, photos, keep_float)
        from cannabis_ml.exporting.quantize_onnx import quantize_onnx

        return quantize_onnx(model.data, quantization, photos, keep_float)
    except Exception as error:  # of libraries, without a base class in common
        reason = one_line(error)
        raise ExportError(
            f"{quantization} cannot be applied to this {model.format} file: {reason}"
        ) from error


def _probabilities(predictor: Predictor, photos: np.ndarray) -> dict[str, np.ndarray]:
    answers = [predictor.invoke(photo[None]) for photo in photos]
    names = [head.name for head in predictor.taxonomy.heads]
    return {name: np.concatenate([a[name] for a in answers]) for name in names}
