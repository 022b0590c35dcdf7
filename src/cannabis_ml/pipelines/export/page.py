"""Selection of a tier's file for web pages: the first that agrees with the float file and ships."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.parity import PageFileReport, PageReport, Parity
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.pipelines.export.choice import Judge, Verdict, file_report, quantize_and_judge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageCandidate:
    """A float TFLite file of a tier that ships in another format.

    Attributes:
        model: The file.
        parity: Its differences to PyTorch.
    """

    model: ModelFile
    parity: Parity


def choose_for_pages(
    candidate: PageCandidate,
    ships: ModelFile,
    quantizations: Sequence[str],
    photos: np.ndarray,
    judge: Judge,
    parity_of: Callable[[ModelFile], Parity],
) -> tuple[ModelFile | None, PageReport]:
    """Quantize the TFLite file in the given order until one passes.

    It passes by agreeing with the tier's float file, as every quantized file must, and with the
    file that ships, whose answers calibration and every promise rest on. Its size decides nothing.

    Args:
        candidate: The float TFLite file.
        ships: The file of the tier that ships.
        quantizations: In order of preference.
        photos: Calibration photos for quantizers, uint8 (N, S, S, 3).
        judge: Of the tier.
        parity_of: Compares a file with PyTorch on test photos, which decides nothing.

    Returns:
        The file, None where none passed; and the report.
    """
    files: dict[str, PageFileReport] = {}
    failed: dict[str, str] = {}
    chosen = None
    for quantization in quantizations:
        try:
            model, verdict = quantize_and_judge(
                candidate.model, quantization, photos, judge.with_float
            )
            shipped = judge.with_shipped(model, ships)
            both = Verdict(verdict.heads, [*verdict.faults, *shipped.faults])
            report = file_report(model, candidate.model, parity_of(model), both)
        except ExportError as error:  # of one quantization; another may work
            failed[quantization] = str(error)
            logger.warning("For web pages, %s: %s", quantization, error)
            continue
        files[quantization] = PageFileReport(**dict(report), with_shipped=shipped.heads)
        if report.passes:
            chosen = model
            break
    return chosen, PageReport(
        ships=chosen and chosen.quantization,
        float_parity=candidate.parity,
        files=files,
        not_made=failed,
    )
