"""From a checkpoint to the smallest file that answers as well."""

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

log = logging.getLogger(__name__)

MOST_LAYERS = 20
"""Layers that a report names, at most."""


def export_float(
    checkpoint: Checkpoint,
    file: TierExportParams,
    tier: str,
    tracking_run: str | None,
    decision: DecisionRule | None = None,
) -> ModelFile:
    """Turn the trained network into a file with the preprocessing inside.

    Args:
        checkpoint: The trained network with its card.
        file: The format.
        tier: Name of the tier, for the file's card.
        tracking_run: MLflow's id of this run.
        decision: By which the network was scored; it travels in the file's card.

    Returns:
        A model that takes `photos`, uint8 RGB (N, S, S, 3), N = 1 in TFLite, and gives per head
        float32 (N, K) probabilities under the head's name, the `embedding`, and where heads have
        several members their `uncertainty`. Taxonomy and input size stand in its metadata.

    Raises:
        ExportError: If what writes the format is not installed; says how to install it.
    """
    if file.format == "tflite":
        from cannabis_ml.exporting.litert_export import to_litert

        return to_litert(checkpoint, tier=tier, run=tracking_run, decision=decision)
    from cannabis_ml.exporting.onnx_export import to_onnx

    return to_onnx(checkpoint, tier=tier, run=tracking_run, decision=decision)


def ask_pytorch(
    checkpoint: Checkpoint, photo_set: Dataset, export: ExportParams
) -> dict[str, np.ndarray]:
    """Let the checkpoint itself answer for test photos, to hold files against.

    Args:
        checkpoint: The trained network.
        photo_set: Stored photos; those of the test split are used.
        export: How many.

    Returns:
        Every output by name, float32 (N, …).

    Raises:
        ExportError: If there is no test photo.
    """
    from cannabis_ml.exporting.onnx_export import torch_answers

    rows = gate.rows_of(photo_set, "test", export.photos)
    return torch_answers(checkpoint, list(gate.photos_at(photo_set, rows)))


def check_float(
    float_candidate: ModelFile,
    expected: dict[str, np.ndarray],
    photo_set: Dataset,
    export: ExportParams,
) -> tuple[ModelFile, dict[str, Any]]:
    """Let the float file answer for the same test photos as PyTorch.

    Args:
        float_candidate: The exported file.
        expected: What PyTorch says, from `ask_pytorch`.
        photo_set: Stored photos with labels.
        export: The largest difference allowed.

    Returns:
        The file, and how far it is from PyTorch, as `parity.compare`.

    Raises:
        ExportError: If any head differs by more than allowed, or in any top answer; names them.
    """
    pixels, decision, truth = _test_photos(float_candidate, photo_set, export)
    answers = gate.answers_one_by_one(float_candidate, pixels)
    found = gate.compare(decision, answers, expected, truth)
    faults = gate.float_faults(found, export)
    if faults:
        raise ExportError(
            f"The float {float_candidate.format} file differs from the checkpoint on {len(pixels)}"
            f" test photos: {', '.join(faults)}; allowed is {export.max_difference:g}"
            " (export.max_difference) and no other top answer. It was not saved."
        )
    worst = max(head["largest_difference"] for head in found["heads"].values())
    log.info(
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
    """Quantise in every configured way and keep the smallest file that answers alike.

    A file passes by its agreement with the float file, which needs no labels, on photos of every
    split but test and on copies; the test split reports, and chooses nothing.

    Args:
        float_model: The file to make smaller.
        float_parity: How it compares, from `check_float`.
        expected: What PyTorch says of the test photos.
        photo_set: Stored photos with labels. Quantisers see some of the calibration split.
        augmented_photos: Copies of training photos, to judge by where there are few photos.
        export: What may differ, and what may be lost.
        file: The recipes, in order of preference.

    Returns:
        The files, `float` and, where one passed, `quantised`; the report; and it as a table, a
        row per file and head. The report holds `judged`, the `photos` and `copies` that decided;
        under `files` per recipe `bytes`, `share_of_float`, `passes`, `why`, under `judged` what
        `parity.agreement` gives and under `heads` what `parity.compare` gives for test photos;
        `ships`, a recipe; `not_made` and `not_tried`, recipes with the reason; and, where none
        passed, `layers`, how far each layer alone moves the answers.

    Raises:
        ExportError: If no photo is left to judge by.
    """
    pixels, decision, truth = _test_photos(float_model, photo_set, export)
    seen_rows, seen = _calibration_photos(float_model, photo_set, export)
    judged = gate.photos_to_judge(photo_set, augmented_photos, seen_rows, export.agreement)
    judge = _Judge(float_model, decision, judged, export)
    files = {FLOAT: _entry(float_model, float_model, float_parity, {}, [])}
    made: dict[str, ModelFile] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for recipe in file.recipes:
        better = [r for r in gate.LARGER_THAN.get(recipe, ()) if files.get(r, {}).get("passes")]
        if better and not export.try_all:
            skipped[recipe] = f"larger than {better[0]}, which passes"
            continue
        try:
            smaller, agreement, faults = _smaller(float_model, recipe, seen, judge)
            answers = gate.answers_one_by_one(smaller, pixels)
        except ExportError as error:  # of one recipe; another may work
            failed[recipe] = str(error)
            log.warning("%s: %s", recipe, error)
            continue
        made[recipe] = smaller
        found = gate.compare(decision, answers, expected, truth)
        files[recipe] = _entry(smaller, float_model, found, agreement, faults)
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
    (log.info if chosen else log.warning)("%s: %s", float_model.card["tier"], parity["in_words"])
    models = {FLOAT: float_model} | ({"quantised": made[chosen]} if chosen else {})
    return models, parity, gate.parity_table(parity)


def draw_parity(parity: dict[str, Any]) -> Figure:
    """Draw size, agreement and accuracy of every file that was tried."""
    from cannabis_ml.pipelines.export.figures import parity_figure

    return parity_figure(parity)


def measure_latency(
    models: dict[str, ModelFile], photo_set: Dataset, export: ExportParams
) -> dict[str, Any]:
    """Time one photo at a time on this machine, from JPEG, from pixels and in the model alone.

    Args:
        models: The files of a tier.
        photo_set: Stored photos; of the test split.
        export: How many photos and how often.

    Returns:
        `machine`; under `files` per file its bytes and, for one thread and for all, milliseconds
        (`p50`, `p95`) and memory in MB; and where there are two, `quantised_to_float`, ratios of
        medians.
    """
    from cannabis_ml.pipelines.export.latency import measure

    rows = gate.rows_of(photo_set, "test", export.latency.photos)
    return measure(models, list(gate.photos_at(photo_set, rows)), export.latency)


class _Judge:
    """Decides whether a quantised file answers as its float file does, and is worth shipping."""

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
        return gate.answers_one_by_one(self._float_model, self._photos.pixels(self._size))

    def __call__(self, model: ModelFile) -> tuple[dict[str, Any], list[str]]:
        """What `parity.agreement` gives, and why the file may not ship."""
        answers = gate.answers_one_by_one(model, self._photos.pixels(self._size))
        truth = self._photos.truth(self._decision.taxonomy)
        found = gate.agreement(self._decision, answers, self._expected, truth)
        faults = gate.quantised_faults(found, self._export)
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
    model: ModelFile, recipe: str, photos: np.ndarray, judge: _Judge
) -> tuple[ModelFile, dict[str, Any], list[str]]:
    """The file of a recipe, and what the judge says; of `mixed` the smallest that passes."""
    from cannabis_ml.exporting.quantize import KEPT_SHARES

    for share in KEPT_SHARES if recipe == "mixed" else KEPT_SHARES[:1]:
        smaller = _quantise(model, recipe, photos, share)
        agreement, faults = judge(smaller)
        if not faults:
            break
    return smaller, agreement, faults


def _quantise(model: ModelFile, recipe: str, photos: np.ndarray, kept_share: float) -> ModelFile:
    from cannabis_ml.exporting.quantize import quantise

    kept = f", {kept_share:.0%} of the weights in float32" if recipe == "mixed" else ""
    log.info("Trying %s%s …", recipe, kept)
    return quantise(model, recipe, photos, kept_share)


def _worst_layers(
    model: ModelFile,
    made: dict[str, ModelFile],
    files: dict[str, Any],
    photos: np.ndarray,
) -> list[dict[str, Any]]:
    """Layers by the harm that the least harmful recipe does to each alone."""
    from cannabis_ml.exporting.quantize import layer_errors

    if not made or not len(photos):
        return []
    recipe = min(made, key=lambda name: _loss(files[name]))
    log.info("No quantisation passes: looking for the layers that hurt most …")
    return [
        {"layers": ", ".join(names), "recipe": recipe, "change": change}
        for names, change in layer_errors(model, recipe, photos)[:MOST_LAYERS]
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
    """Pixels as the model sees them, its decision, and the labels."""
    taxonomy = Taxonomy.model_validate(model.card["taxonomy"])
    decision = Decision(taxonomy, DecisionRule.model_validate(model.card.get("decision") or {}))
    rows = gate.rows_of(photo_set, "test", export.photos)
    pixels = gate.pixels_at(photo_set, rows, model.card["image_size"])
    return pixels, decision, gate.truth_at(photo_set, rows, taxonomy)


def _calibration_photos(
    model: ModelFile, photo_set: Dataset, export: ExportParams
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and pixels as the model sees them; none where the split is empty.

    Some recipes can bear that.
    """
    size = model.card["image_size"]
    if "calibration" not in photo_set.unique("split"):
        return np.empty(0, int), np.empty((0, size, size, 3), np.uint8)
    rows = gate.rows_of(photo_set, "calibration", export.calibration_photos)
    return rows, gate.pixels_at(photo_set, rows, size)
