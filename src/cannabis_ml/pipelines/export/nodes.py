"""Export of a checkpoint, quantization, comparison with PyTorch, latency."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.judged_photos import (
    photos_to_judge,
    pixels_at,
    rows_of,
)
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.evaluation.parity import (
    JudgedCounts,
    Parity,
    ParityReport,
    compare,
    outputs_one_by_one,
    parity_faults,
)
from cannabis_ml.exporting.file_card import Provenance
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.model_file import FLOAT, PAGE, QUANTIZED, ModelFile, shipped
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.export.choice import (
    LARGER_THAN,
    Judge,
    Verdict,
    file_report,
    quantize_and_judge,
    smallest,
    worst_layers,
)
from cannabis_ml.pipelines.export.page import PageCandidate, choose_for_pages
from cannabis_ml.pipelines.export.params import ExportParams, TierExportParams
from cannabis_ml.splits import Split

logger = logging.getLogger(__name__)


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
        A model that takes `photos`, uint8 RGB (N, S, S, 3), N = 1 in TFLite, and gives the
        outputs of `inference.outputs`, float32. Its metadata describes them, and holds taxonomy
        and input size.

    Raises:
        ExportError: If a library that writes the format is missing, with the command for it.
    """
    provenance = Provenance(tier, tracking_run, decision)
    if file.format == "tflite":
        from cannabis_ml.exporting.litert_export import to_litert

        return to_litert(checkpoint, provenance)
    from cannabis_ml.exporting.onnx_export import to_onnx

    return to_onnx(checkpoint, provenance)


def ask_pytorch(
    checkpoint: Checkpoint, photo_set: PhotoSet, export: ExportParams
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

    rows = rows_of(photo_set, Split.TEST, export.photos)
    return torch_outputs(checkpoint, [photo_set.pixels(row) for row in rows])


def check_float(
    float_candidate: ModelFile,
    expected: dict[str, np.ndarray],
    photo_set: PhotoSet,
    export: ExportParams,
) -> tuple[ModelFile, Parity]:
    """Check that the float file reproduces PyTorch's outputs on the same test photos.

    Args:
        float_candidate: The exported file.
        expected: PyTorch's outputs, from `ask_pytorch`.
        photo_set: Stored photos with labels.
        export: The largest difference allowed.

    Returns:
        The file, and its differences to PyTorch, as from `evaluation.parity.compare`.

    Raises:
        ExportError: If a head differs by more than allowed, or in any decision; names the heads.
    """
    pixels, decision, truth = _test_photos(float_candidate, photo_set, export)
    parity = compare(decision, outputs_one_by_one(float_candidate, pixels), expected, truth)
    faults = parity_faults(parity, export.max_difference)
    if faults:
        raise ExportError(
            f"The float {float_candidate.format} file differs from the checkpoint on {len(pixels)}"
            f" test photos: {', '.join(faults)}; allowed is {export.max_difference:g}"
            " (export.max_difference) and no other decision. The file was not saved."
        )
    worst = max(head.largest_difference for head in parity.heads.values())
    logger.info(
        "%s agrees with PyTorch on %d test photos to within %.1e.",
        float_candidate.format,
        len(pixels),
        worst,
    )
    return float_candidate, parity


def export_for_pages(
    checkpoint: Checkpoint,
    file: TierExportParams,
    float_model: ModelFile,
    expected: dict[str, np.ndarray],
    photo_set: PhotoSet,
    export: ExportParams,
) -> list[PageCandidate]:
    """Export a tier that ships in another format as float TFLite too, and check it like any file.

    Args:
        checkpoint: The trained network with its card.
        file: Whether a file for web pages is asked for.
        float_model: The tier's float file, whose card has the provenance of both.
        expected: PyTorch's outputs, from `ask_pytorch`.
        photo_set: Stored photos with labels.
        export: The largest difference allowed.

    Returns:
        The file and its differences to PyTorch; empty where none is asked for.

    Raises:
        ExportError: As `export_float` and `check_float`.
    """
    if not file.makes_page:
        return []
    from cannabis_ml.exporting.litert_export import to_litert

    card = float_model.card
    candidate = to_litert(checkpoint, Provenance(card.tier, card.run, card.decision))
    return [PageCandidate(*check_float(candidate, expected, photo_set, export))]


def choose_quantized(
    float_model: ModelFile,
    float_parity: Parity,
    expected: dict[str, np.ndarray],
    photo_set: PhotoSet,
    augmented_photos: PhotoSet,
    export: ExportParams,
    file: TierExportParams,
    page_candidates: Sequence[PageCandidate] = (),
) -> tuple[dict[str, ModelFile], ParityReport, pd.DataFrame]:
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
        page_candidates: From `export_for_pages`.

    Returns:
        The files, `float` and, where one passed, `quantized` and `page`; the report; and it as a
        table, a row per file and head.

    Raises:
        ExportError: If no photo is left to compare on.
    """
    pixels, decision, truth = _test_photos(float_model, photo_set, export)
    seen_rows, seen = _calibration_photos(float_model, photo_set, export)
    judged = photos_to_judge(photo_set, augmented_photos, seen_rows, export.agreement)
    judge = Judge(float_model, decision, judged, export)

    def parity_of(model: ModelFile) -> Parity:
        return compare(decision, outputs_one_by_one(model, pixels), expected, truth)

    files = {FLOAT: file_report(float_model, float_model, float_parity, Verdict({}, []))}
    made: dict[str, ModelFile] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for quantization in file.quantizations:
        smaller_ones = LARGER_THAN.get(quantization, ())
        better = [name for name in smaller_ones if name in files and files[name].passes]
        if better and not export.try_all:
            skipped[quantization] = f"larger than {better[0]}, which passes"
            continue
        try:
            smaller, verdict = quantize_and_judge(float_model, quantization, seen, judge)
            parity = parity_of(smaller)
        except ExportError as error:  # of one quantization; another may work
            failed[quantization] = str(error)
            logger.warning("%s: %s", quantization, error)
            continue
        made[quantization] = smaller
        files[quantization] = file_report(smaller, float_model, parity, verdict)
    sizes = {name: len(model.data) for name, model in made.items() if files[name].passes}
    chosen = smallest(sizes, export.same_size)
    models = {FLOAT: float_model} | ({QUANTIZED: made[chosen]} if chosen else {})
    for_pages, page = None, None
    for candidate in page_candidates:
        ships = models[shipped(models)]
        for_pages, page = choose_for_pages(candidate, ships, file.page, seen, judge, parity_of)
    report = ParityReport(
        photos=len(pixels),
        calibration_photos=len(seen),
        judged=JudgedCounts(photos=len(judged.rows), copies=len(judged.copy_rows)),
        min_same_decisions=export.agreement.min_same_decisions,
        format=float_model.format,
        allowed_difference=export.max_difference,
        allowed_accuracy_loss=dict(export.max_accuracy_loss),
        ships=chosen or FLOAT,
        files=files,
        not_made=failed,
        not_tried=skipped,
        layers=[] if chosen else worst_layers(float_model, files, seen),
        page=page,
    )
    report = report.model_copy(update={"in_words": report.summary()})
    as_asked = chosen and (page is None or for_pages is not None)
    (logger.info if as_asked else logger.warning)("%s: %s", float_model.card.tier, report.in_words)
    return models | ({PAGE: for_pages} if for_pages else {}), report, report.table()


def draw_parity(parity: ParityReport) -> Figure:
    """Draw size, agreement and accuracy of every file."""
    from cannabis_ml.pipelines.export.figures import parity_figure

    return parity_figure(parity)


def measure_latency(
    models: dict[str, ModelFile], photo_set: PhotoSet, export: ExportParams
) -> LatencyReport:
    """Latency and memory on this machine, one photo at a time: from JPEG, from pixels, model only.

    Not of the file for web pages, which another runtime runs on other machines.

    Args:
        models: The files of a tier.
        photo_set: Stored photos; of the test split.
        export: How many photos and repetitions.
    """
    from cannabis_ml.evaluation.latency import measure

    rows = rows_of(photo_set, Split.TEST, export.latency.photos)
    own = {kind: model for kind, model in models.items() if kind != PAGE}
    return measure(own, [photo_set.pixels(row) for row in rows], export.latency)


def _test_photos(
    model: ModelFile, photo_set: PhotoSet, export: ExportParams
) -> tuple[np.ndarray, Decision, dict[str, np.ndarray]]:
    """Pixels at the model's input size, its decision, and the labels."""
    taxonomy, decision = model.card.taxonomy, Decision(model.card.taxonomy, model.card.decision)
    rows = rows_of(photo_set, Split.TEST, export.photos)
    pixels = pixels_at(photo_set, rows, model.card.image_size)
    return pixels, decision, photo_set.encode(taxonomy, rows)


def _calibration_photos(
    model: ModelFile, photo_set: PhotoSet, export: ExportParams
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and pixels at the model's input size; none where the split is empty.

    Some quantizations need none.
    """
    size = model.card.image_size
    if not len(photo_set.rows_of(Split.CALIBRATION)):
        return np.empty(0, int), np.empty((0, size, size, 3), np.uint8)
    rows = rows_of(photo_set, Split.CALIBRATION, export.calibration_photos)
    return rows, pixels_at(photo_set, rows, size)
