"""Make a model file smaller, and find out which layers cannot bear it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import groupby

import numpy as np

from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.tier import Tier, open_tier
from cannabis_ml.networks.layers import Layer

RECIPES = {
    "weight_only_int8": "weights of 8 bits, brought back to float32 when the model is opened",
    "dynamic_int8": "weights and, photo by photo, what is multiplied with them: whole numbers",
    "static_int8": "all features whole numbers, in ranges seen on calibration photos",
    "mixed": "weight_only_int8 where it does least harm, float32 where it does most",
    "float16": "weights of 16 bits, brought back to float32 when the model is opened",
}
"""What every recipe does; each exists for both formats."""

KEPT_SHARES = (0.02, 0.05, 0.1, 0.2)
"""Shares of the weights that `mixed` may keep in float32, to be tried in this order: files of about
28, 30, 34 and 42% of the float file's size."""

NEED_PHOTOS = ("static_int8", "mixed")
"""Recipes that look at photos."""

PROBES = 4
"""Photos by which layers are compared."""

MOST_GROUPS = 64
"""Layers are taken together, by module, until no more groups than this have to be compared."""


def quantise(
    model: ModelFile, recipe: str, photos: np.ndarray, kept_share: float = KEPT_SHARES[0]
) -> ModelFile:
    """Apply a recipe to a float file.

    Args:
        model: A float file.
        recipe: One of `RECIPES`.
        photos: uint8 (N, S, S, 3) of the calibration split; `NEED_PHOTOS` names those who look.
        kept_share: Of the bytes of all weights, what `mixed` keeps in float32 at most.

    Returns:
        The smaller file with the same input, outputs and card, but for `recipe`.

    Raises:
        ExportError: If the recipe cannot be applied to this network; says what the quantiser said.
    """
    if recipe in NEED_PHOTOS and not len(photos):
        raise ExportError(f"{recipe} needs photos in the calibration split; there are none")
    if recipe == "mixed":
        kept = fragile_layers(model, photos, kept_share)
        data = _apply(model, "weight_only_int8", photos, kept)
    else:
        data = _apply(model, recipe, photos)
    if model.format == "tflite":
        from cannabis_ml.exporting.quantize_tflite import inline_weights

        data = inline_weights(data)
    return ModelFile(data, model.format, recipe).with_card({**model.card, "recipe": recipe})


def fragile_layers(
    model: ModelFile, photos: np.ndarray, share: float = KEPT_SHARES[0]
) -> list[str]:
    """Layers that 8-bit weights harm most for their size, of at most a share of all weights.

    Args:
        model: A float file.
        photos: As for `quantise`.
        share: Of the bytes of all weights.
    """
    size = {layer.name: layer.size for layer in layers_of(model)}
    left = share * sum(size.values())
    found: list[str] = []
    weighed = [
        (change / sum(size[name] for name in group), group)
        for group, change in layer_errors(model, "weight_only_int8", photos)
    ]
    for _, group in sorted(weighed, reverse=True):
        needed = sum(size[name] for name in group)
        if needed <= left:
            left -= needed
            found += group
    return found


def layer_errors(
    model: ModelFile, recipe: str, photos: np.ndarray
) -> list[tuple[tuple[str, ...], float]]:
    """How far answers move when one layer, or a few of one module, are quantised and no other.

    Those of the last model are kept, as several shares of it may be tried.

    Args:
        model: A float file.
        recipe: One of `RECIPES`; for `mixed`, what it does to the layers that it changes.
        photos: As for `quantise`; `PROBES` of them are asked.

    Returns:
        Names of layers, and the largest change of a probability, averaged over heads and photos;
        the worst first.
    """
    recipe = "weight_only_int8" if recipe == "mixed" else recipe
    key = (hashlib.sha256(model.data + photos[:PROBES].tobytes()).digest(), recipe)
    if key not in _LAYER_ERRORS:
        _LAYER_ERRORS.clear()
        _LAYER_ERRORS[key] = _layer_errors(model, recipe, photos)
    return _LAYER_ERRORS[key]


_LAYER_ERRORS: dict[tuple[bytes, str], list[tuple[tuple[str, ...], float]]] = {}


def _layer_errors(
    model: ModelFile, recipe: str, photos: np.ndarray
) -> list[tuple[tuple[str, ...], float]]:
    names = [layer.name for layer in layers_of(model)]
    probes = photos[:PROBES]
    tier = open_tier(model, threads=1)
    expected = _probabilities(tier, probes)
    found = []
    for group in grouped(layers_of(model)):
        others = [name for name in names if name not in group]
        data = _apply(model, recipe, probes, others)
        probe = ModelFile(data, model.format, recipe).with_card(model.card)
        given = _probabilities(open_tier(probe, threads=1), probes)
        changes = [np.abs(given[h] - expected[h]).max(axis=1).mean() for h in expected]
        found.append((group, float(np.mean(changes))))
    return sorted(found, key=lambda pair: -pair[1])


def layers_of(model: ModelFile) -> list[Layer]:
    """Layers that a recipe may change, in the order of the file."""
    if model.format == "tflite":
        from cannabis_ml.exporting.quantize_tflite import tflite_layers

        return tflite_layers(model.data)
    from cannabis_ml.exporting.quantize_onnx import onnx_layers

    return onnx_layers(model.data)


def grouped(layers: list[Layer], most: int = MOST_GROUPS) -> list[tuple[str, ...]]:
    """Names of layers, neighbours of one module together where there are more than `most`."""
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
    model: ModelFile, recipe: str, photos: np.ndarray, keep_float: Collection[str] = ()
) -> bytes:
    if recipe not in RECIPES:
        raise ExportError(f"'{recipe}' is no recipe: there are {', '.join(RECIPES)}.")
    try:
        if model.format == "tflite":
            from cannabis_ml.exporting.quantize_tflite import quantise_tflite

            return quantise_tflite(model.data, recipe, photos, keep_float)
        from cannabis_ml.exporting.quantize_onnx import quantise_onnx

        return quantise_onnx(model.data, recipe, photos, keep_float)
    except Exception as error:  # of libraries, without a base class in common
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"{recipe} cannot be applied to this {model.format} file: {reason}"
        ) from error


def _probabilities(tier: Tier, photos: np.ndarray) -> dict[str, np.ndarray]:
    answers = [tier.invoke(photo[None]) for photo in photos]
    names = [head.name for head in tier.taxonomy.heads]
    return {name: np.concatenate([a[name] for a in answers]) for name in names}
