"""Export of a checkpoint, quantization, comparison with PyTorch, latency."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml._io.heavy_types import Dataset, Figure
from cannabis_ml.errors import ExportError
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.pipelines.export import parity as gate
from cannabis_ml.pipelines.export.params import ExportParams, TierExportParams
from cannabis_ml.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

MOST_LAYERS = 20
"""Largest number of layers that a report names."""


def export_float(
    checkpoint: Checkpoint,
    file: TierExportParams,
    tier: str,
    tracking_run: str | None,
    decision: DecisionRule | None = None,
) -> ModelFile:
    """Export the trained network as a float model file that includes the preprocessing.

    Args:
        checkpoint: The trained network with its card.
        file: The format.
        tier: Name of the tier, for the file's card.
        tracking_run: MLflow's id of this run.
        decision: The rule that the network was scored with, for the file's card.

    Returns:
        A model that takes `photos`, uint8 RGB (N, S, S, 3), N = 1 in TFLite, and gives per head
        float32 (N, K) probabilities under the head's name, the `embedding`, and where heads have
        several members their `uncertainty`. Its metadata holds taxonomy and input size.

    Raises:
        ExportError: If a library that writes the format is missing; says how to install it.
    """
    if file.format == "tflite":
        from cannabis_ml.exporting.litert_export import to_litert

        return to_litert(checkpoint, tier=tier, run=tracking_run, decision=decision)
    from cannabis_ml.exporting.onnx_export import to_onnx

    return to_onnx(checkpoint, tier=tier, run=tracking_run, decision=decision)


def ask_pytorch(
    checkpoint: Checkpoint, photo_set: Dataset, export: ExportParams
) -> dict[str, np.ndarray]:
    """Outputs of the checkpoint in PyTorch for test photos: the reference for exported files.

    Args:
        checkpoint: The trained network.
        photo_set: Stored photos; those of the test split are used.
        export: How many.

    Returns:
        Every output by name, float32 (N, …).

    Raises:
        ExportError: If there is no test photo.
    """
    from cannabis_ml.exporting.onnx_export import torch_outputs

    rows = gate.rows_of(photo_set, "test", export.photos)
    return torch_outputs(checkpoint, list(gate.photos_at(photo_set, rows)))


def check_float(
    float_candidate: ModelFile,
    expected: dict[str, np.ndarray],
    photo_set: Dataset,
    export: ExportParams,
) -> tuple[ModelFile, dict[str, Any]]:
    """Check that the float file reproduces PyTorch's outputs on the same test photos.

    Args:
        float_candidate: The exported file.
        expected: PyTorch's outputs, from `ask_pytorch`.
        photo_set: Stored photos with labels.
        export: The largest difference allowed.

    Returns:
        The file, and its differences to PyTorch, as from `parity.compare`.

    Raises:
        ExportError: If a head differs by more than allowed, or in any decision; names the heads.
    """
    pixels, decision, truth = _test_photos(float_candidate, photo_set, export)
    outputs = gate.outputs_one_by_one(float_candidate, pixels)
    found = gate.compare(decision, outputs, expected, truth)
    faults = gate.float_faults(found, export)
    if faults:
        raise ExportError(
            f"The float {float_candidate.format} file differs from the checkpoint on {len(pixels)}"
            f" test photos: {', '.join(faults)}; allowed is {export.max_difference:g}"
            " (export.max_difference) and no other decision. The file was not saved."
        )
    worst = max(head["largest_difference"] for head in found["heads"].values())
    logger.info(
        "%s agrees with PyTorch on %d test photos to within %.1e.",
        float_candidate.format,
        len(pixels),
        worst,
    )
    return float_candidate, found


def choose_quantised(
    float_model: ModelFile,
    float_parity: dict[str, Any],
    expected: dict[str, np.ndarray],
    photo_set: Dataset,
    augmented_photos: Dataset,
    export: ExportParams,
    file: TierExportParams,
) -> tuple[dict[str, ModelFile], dict[str, Any], pd.DataFrame]:
    """Quantize in every configured way, select the smallest file that agrees with the float one.

    A file passes by its agreement with the float file, which needs no labels, on photos of every
    split but test and on copies; the test split is reported on, and selects nothing.

    Args:
        float_model: The file to quantize.
        float_parity: Its differences to PyTorch, from `check_float`.
        expected: PyTorch's outputs for the test photos.
        photo_set: Stored photos with labels. Quantizers get some of the calibration split.
        augmented_photos: Copies of training photos, compared on where there are few photos.
        export: Allowed differences and allowed loss of accuracy.
        file: The quantizations, in order of preference.

    Returns:
        The files, `float` and, where one passed, `quantised`; the report; and it as a table, a
        row per file and head. The report holds `judged`, the `photos` and `copies` that decided;
        under `files` per quantization `bytes`, `share_of_float`, `passes`, `why`, under `judged`
        what `parity.agreement` gives and under `heads` what `parity.compare` gives for test
        photos; `ships`, the selected one; `not_made` and `not_tried`, those without a file, with
        the reason; and, where none passed, `layers`, the error that each layer alone causes.

    Raises:
        ExportError: If no photo is left to compare on.
    """
    pixels, decision, truth = _test_photos(float_model, photo_set, export)
    seen_rows, seen = _calibration_photos(float_model, photo_set, export)
    judged = gate.photos_to_judge(photo_set, augmented_photos, seen_rows, export.agreement)
    judge = _Judge(float_model, decision, judged, export)
    files = {FLOAT: _entry(float_model, float_model, float_parity, {}, [])}
    made: dict[str, ModelFile] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for quantization in file.quantizations:
        smaller_ones = gate.LARGER_THAN.get(quantization, ())
        better = [name for name in smaller_ones if files.get(name, {}).get("passes")]
        if better and not export.try_all:
            skipped[quantization] = f"larger than {better[0]}, which passes"
            continue
        try:
            smaller, agreement, faults = _smaller(float_model, quantization, seen, judge)
            outputs = gate.outputs_one_by_one(smaller, pixels)
        except ExportError as error:  # of one quantization; another may work
            failed[quantization] = str(error)
            logger.warning("%s: %s", quantization, error)
            continue
        made[quantization] = smaller
        found = gate.compare(decision, outputs, expected, truth)
        files[quantization] = _entry(smaller, float_model, found, agreement, faults)
    sizes = {name: len(model.data) for name, model in made.items() if files[name]["passes"]}
    chosen = gate.smallest(sizes, export.same_size)
    parity = {
        "photos": len(pixels),
        "calibration_photos": len(seen),
        "judged": {"photos": len(judged.rows), "copies": len(judged.copy_rows)},
        "min_same_decisions": export.agreement.min_same_decisions,
        "format": float_model.format,
        "allowed_difference": export.max_difference,
        "allowed_accuracy_loss": dict(export.max_accuracy_loss),
        "ships": chosen or FLOAT,
        "files": files,
        "not_made": failed,
        "not_tried": skipped,
        "layers": [] if chosen else _worst_layers(float_model, made, files, seen),
    }
    parity["in_words"] = gate.in_words(parity)
    (logger.info if chosen else logger.warning)(
        "%s: %s", float_model.card["tier"], parity["in_words"]
    )
    models = {FLOAT: float_model} | ({"quantised": made[chosen]} if chosen else {})
    return models, parity, gate.parity_table(parity)


def draw_parity(parity: dict[str, Any]) -> Figure:
    """Draw size, agreement and accuracy of every file."""
    from cannabis_ml.pipelines.export.figures import parity_figure

    return parity_figure(parity)


def measure_latency(
    models: dict[str, ModelFile], photo_set: Dataset, export: ExportParams
) -> dict[str, Any]:
    """Latency and memory on this machine, one photo at a time: from JPEG, from pixels, model only.

    Args:
        models: The files of a tier.
        photo_set: Stored photos; of the test split.
        export: How many photos and repetitions.

    Returns:
        `machine`; under `files` per file its bytes and, for one thread and for all, milliseconds
        (`p50`, `p95`) and memory in MB; and where there are two, `quantised_to_float`, ratios of
        medians.
    """
    from cannabis_ml.pipelines.export.latency import measure

    rows = gate.rows_of(photo_set, "test", export.latency.photos)
    return measure(models, list(gate.photos_at(photo_set, rows)), export.latency)


class _Judge:
    """Whether a quantized file agrees with its float file, and is smaller by half or faster."""

    def __init__(
        self,
        float_model: ModelFile,
        decision: Decision,
        photos: gate.JudgedPhotos,
        export: ExportParams,
    ) -> None:
        self._float_model, self._decision = float_model, decision
        self._photos, self._export = photos, export
        self._size = float_model.card["image_size"]

    @cached_property
    def _expected(self) -> dict[str, np.ndarray]:
        return gate.outputs_one_by_one(self._float_model, self._photos.pixels(self._size))

    def __call__(self, model: ModelFile) -> tuple[dict[str, Any], list[str]]:
        """Agreement as from `parity.agreement`, and the reasons why the file does not pass."""
        outputs = gate.outputs_one_by_one(model, self._photos.pixels(self._size))
        truth = self._photos.truth(self._decision.taxonomy)
        found = gate.agreement(self._decision, outputs, self._expected, truth)
        faults = gate.quantized_faults(found, self._export)
        if not faults and len(model.data) > 0.5 * len(self._float_model.data):
            faults = self._too_slow(model)
        return found, faults

    def _too_slow(self, model: ModelFile) -> list[str]:
        from cannabis_ml.pipelines.export.latency import measure

        latency = self._export.latency
        photos = list(gate.photos_at(self._photos.photo_set, self._photos.rows[: latency.photos]))
        found = measure({FLOAT: self._float_model, "quantised": model}, photos, latency)
        ratio = found["quantised_to_float"]["one_thread_invoke"]
        if ratio < 1:
            return []
        return [f"neither smaller by half nor faster ({ratio:.2f} times the float file's time)"]


def _smaller(
    model: ModelFile, quantization: str, photos: np.ndarray, judge: _Judge
) -> tuple[ModelFile, dict[str, Any], list[str]]:
    """The quantized file with agreement and faults; of `mixed` the smallest file that passes."""
    from cannabis_ml.exporting.quantize import KEPT_SHARES

    for share in KEPT_SHARES if quantization == "mixed" else KEPT_SHARES[:1]:
        smaller = _quantize(model, quantization, photos, share)
        agreement, faults = judge(smaller)
        if not faults:
            break
    return smaller, agreement, faults


def _quantize(
    model: ModelFile, quantization: str, photos: np.ndarray, kept_share: float
) -> ModelFile:
    from cannabis_ml.exporting.quantize import quantize

    kept = f", {kept_share:.0%} of the weights in float32" if quantization == "mixed" else ""
    logger.info("Trying %s%s …", quantization, kept)
    return quantize(model, quantization, photos, kept_share)


def _worst_layers(
    model: ModelFile,
    made: dict[str, ModelFile],
    files: dict[str, Any],
    photos: np.ndarray,
) -> list[dict[str, Any]]:
    """Layers by the error that the quantization with the best agreement causes in each alone."""
    from cannabis_ml.exporting.quantize import layer_errors

    if not made or not len(photos):
        return []
    quantization = min(made, key=lambda name: _loss(files[name]))
    logger.info("No quantization passes: measuring the error that each layer causes …")
    return [
        {"layers": ", ".join(names), "quantization": quantization, "change": change}
        for names, change in layer_errors(model, quantization, photos)[:MOST_LAYERS]
    ]


def _loss(entry: dict[str, Any]) -> float:
    return sum(1 - head["same_decisions"] for head in entry["judged"].values())


def _entry(
    model: ModelFile,
    before: ModelFile,
    found: dict[str, Any],
    judged: dict[str, Any],
    faults: list[str],
) -> dict[str, Any]:
    return {
        "bytes": len(model.data),
        "share_of_float": len(model.data) / len(before.data),
        "passes": not faults,
        "why": "; ".join(faults),
        "judged": judged,
        **found,
    }


def _test_photos(
    model: ModelFile, photo_set: Dataset, export: ExportParams
) -> tuple[np.ndarray, Decision, dict[str, np.ndarray]]:
    """Pixels at the model's input size, its decision, and the labels."""
    taxonomy = Taxonomy.model_validate(model.card["taxonomy"])
    decision = Decision(taxonomy, DecisionRule.model_validate(model.card.get("decision") or {}))
    rows = gate.rows_of(photo_set, "test", export.photos)
    pixels = gate.pixels_at(photo_set, rows, model.card["image_size"])
    return pixels, decision, gate.truth_at(photo_set, rows, taxonomy)


def _calibration_photos(
    model: ModelFile, photo_set: Dataset, export: ExportParams
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and pixels at the model's input size; none where the split is empty.

    Some quantizations need none.
    """
    size = model.card["image_size"]
    if "calibration" not in photo_set.unique("split"):
        return np.empty(0, int), np.empty((0, size, size, 3), np.uint8)
    rows = gate.rows_of(photo_set, "calibration", export.calibration_photos)
    return rows, gate.pixels_at(photo_set, rows, size)
