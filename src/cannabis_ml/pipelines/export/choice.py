"""Selection of the file that ships: the smallest that agrees with the float file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cannabis_ml.evaluation.agreement import (
    ROUNDING,
    HeadAgreement,
    agreement,
    agreement_faults,
)
from cannabis_ml.evaluation.judged_photos import JudgedPhotos
from cannabis_ml.evaluation.parity import FileReport, LayerChange, Parity, outputs_one_by_one
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.model_file import FLOAT, QUANTIZED, ModelFile
from cannabis_ml.pipelines.export.params import ExportParams

logger = logging.getLogger(__name__)

LARGER_THAN: Mapping[str, tuple[str, ...]] = {
    "mixed": ("weight_only_int8",),
    "float16": ("weight_only_int8", "dynamic_int8", "static_int8", "mixed"),
}
"""Quantizations whose file is always larger than those of the named others."""

MOST_KEPT = 1 << 28
"""Bytes of photos that are kept in memory between files, at most; else each file reads them."""

MOST_LAYERS = 20
"""Largest number of layers that a report names."""


class Verdict(NamedTuple):
    """Agreement of a quantized file with its float file, and the reasons why it does not pass."""

    heads: dict[str, HeadAgreement]
    faults: list[str]


class Judge:
    """Whether a quantized file agrees with its float file, and is smaller by half or faster.

    Photos come in random order. Where so many decisions differ that the file can no longer pass,
    the rest is left out, unless everything is to be tried: `export.try_all`.

    Args:
        float_model: The float file.
        decision: Turns outputs into decisions.
        photos: Those to compare on.
        export: Allowed differences and allowed loss of accuracy.
    """

    def __init__(
        self,
        float_model: ModelFile,
        decision: Decision,
        photos: JudgedPhotos,
        export: ExportParams,
    ) -> None:
        self._float_model, self._decision = float_model, decision
        self._photos, self._export = photos, export
        self._order = np.random.default_rng(0).permutation(len(photos))
        self._outputs: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def __call__(self, model: ModelFile) -> Verdict:
        """Judge one file."""
        compared, faults = self.with_float(model)
        if not faults and len(model.data) > 0.5 * len(self._float_model.data):
            faults = self._too_slow(model)
        return Verdict(compared, faults)

    def with_float(self, model: ModelFile) -> Verdict:
        """Judge one file by its agreement with the float file alone, whatever its size."""
        expected = self._known(self._float_model)
        outputs = self._answers(model, self._until_lost(expected))
        compared = self._agreement(outputs, expected)
        export = self._export
        faults = agreement_faults(compared, export.agreement, export.max_accuracy_loss)
        seen, count = _photos_in(outputs), len(self._photos)
        if seen < count:
            faults.append(f"it could no longer pass after {seen:,} of {count:,} photos")
        return Verdict(compared, faults)

    def with_shipped(self, model: ModelFile, ships: ModelFile) -> Verdict:
        """Judge a file that `with_float` was asked about by its agreement with the one that ships.

        Each may differ from the float file, on other photos, so that fewer decisions need be equal:
        `min_same_as_shipped`. The other limits are the same.
        """
        compared = self._agreement(self._known(model), self._known(ships))
        limits = self._export.agreement
        limits = limits.model_copy(update={"min_same_decisions": limits.min_same_as_shipped})
        faults = agreement_faults(
            compared, limits, self._export.max_accuracy_loss, "the file that ships"
        )
        return Verdict(compared, faults)

    def _agreement(
        self, outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
    ) -> dict[str, HeadAgreement]:
        """On the photos that the first outputs are of."""
        seen = _photos_in(outputs)
        expected = {name: values[:seen] for name, values in expected.items()}
        truth = {name: labels[:seen] for name, labels in self._truth.items()}
        return agreement(self._decision, outputs, expected, truth)

    def _until_lost(
        self, expected: Mapping[str, np.ndarray]
    ) -> Callable[[Mapping[str, np.ndarray]], bool]:
        """Whether more decisions differ by now than may differ in all."""
        theirs = self._decision.decide(expected)
        share = 1 - self._export.agreement.min_same_decisions + ROUNDING
        differing = dict.fromkeys(theirs, 0)
        seen = 0

        def is_lost(outputs: Mapping[str, np.ndarray]) -> bool:
            nonlocal seen
            for name, ours in self._decision.decide(outputs).items():
                differing[name] += int((ours != theirs[name][seen : seen + len(ours)]).sum())
            seen += _photos_in(outputs)
            lost = any(differing[name] > share * of.size for name, of in theirs.items())
            return lost and not self._export.try_all

        return is_lost

    def _known(self, model: ModelFile) -> dict[str, np.ndarray]:
        """Outputs, computed where they are not known."""
        key = (model.format, model.quantization)
        return self._outputs[key] if key in self._outputs else self._answers(model)

    def _answers(
        self,
        model: ModelFile,
        is_enough: Callable[[Mapping[str, np.ndarray]], bool] | None = None,
    ) -> dict[str, np.ndarray]:
        """Outputs, kept under the names of format and quantization."""
        outputs = outputs_one_by_one(model, self._pixels(), is_enough)
        self._outputs[model.format, model.quantization] = outputs
        return outputs

    def _pixels(self) -> Iterable[np.ndarray]:
        size = self._float_model.card.image_size
        return self._kept or self._photos.pixels(size, self._order)

    @cached_property
    def _kept(self) -> list[np.ndarray] | None:
        """All photos at the model's input size, where they fit into memory."""
        size = self._float_model.card.image_size
        if 3 * size**2 * len(self._photos) > MOST_KEPT:
            return None
        return list(self._photos.pixels(size, self._order))

    @cached_property
    def _truth(self) -> dict[str, np.ndarray]:
        truth = self._photos.truth(self._decision.taxonomy)
        return {name: labels[self._order] for name, labels in truth.items()}

    def _too_slow(self, model: ModelFile) -> list[str]:
        from cannabis_ml.evaluation.latency import measure

        latency = self._export.latency
        photo_set, rows = self._photos.photo_set, self._photos.rows
        photos = [photo_set.pixels(row) for row in rows[: latency.photos]]
        times = measure({FLOAT: self._float_model, QUANTIZED: model}, photos, latency)
        ratio = times.quantized_to_float["one_thread_invoke"]
        if ratio < 1:
            return []
        return [f"neither smaller by half nor faster ({ratio:.2f} times the float file's time)"]


def quantize_and_judge(
    model: ModelFile,
    quantization: str,
    photos: np.ndarray,
    judge: Callable[[ModelFile], Verdict],
) -> tuple[ModelFile, Verdict]:
    """The quantized file with its verdict; of `mixed` the smallest file that passes.

    Args:
        model: The float file.
        quantization: One of `QUANTIZATIONS`.
        photos: Calibration photos, uint8 (N, S, S, 3).
        judge: Gives the verdict.

    Raises:
        ExportError: If this network cannot be quantized so.
    """
    from cannabis_ml.exporting.quantize import KEPT_SHARES

    for share in KEPT_SHARES if quantization == "mixed" else KEPT_SHARES[:1]:
        smaller = _quantize(model, quantization, photos, share)
        verdict = judge(smaller)
        if not verdict.faults:
            break
    return smaller, verdict


def smallest(sizes: Mapping[str, int], same_size: float) -> str | None:
    """The first of the smallest files, in the order given; None if there is no file.

    Args:
        sizes: Bytes by quantization, in order of preference.
        same_size: Share of the smallest up to which another counts as equally small.
    """
    if not sizes:
        return None
    limit = min(sizes.values()) * (1 + same_size)
    return next(name for name, size in sizes.items() if size <= limit)


def file_report(
    model: ModelFile, float_model: ModelFile, parity: Parity, verdict: Verdict
) -> FileReport:
    """What is reported on one file."""
    return FileReport(
        bytes=len(model.data),
        share_of_float=len(model.data) / len(float_model.data),
        passes=not verdict.faults,
        why="; ".join(verdict.faults),
        judged=verdict.heads,
        outputs=parity.outputs,
        heads=parity.heads,
    )


def worst_layers(
    float_model: ModelFile, files: Mapping[str, FileReport], photos: np.ndarray
) -> list[LayerChange]:
    """Layers by the error that the quantization with the best agreement causes in each alone.

    Args:
        float_model: The float file.
        files: Reports by quantization, of the float file too.
        photos: Calibration photos, uint8 (N, S, S, 3).
    """
    from cannabis_ml.exporting.quantize import layer_errors

    made = [name for name in files if name != FLOAT]
    if not made or not len(photos):
        return []
    quantization = min(made, key=lambda name: _changed_decisions(files[name]))
    logger.info("No quantization passes: measuring the error that each layer causes …")
    return [
        LayerChange(layers=", ".join(names), quantization=quantization, change=change)
        for names, change in layer_errors(float_model, quantization, photos)[:MOST_LAYERS]
    ]


def _quantize(
    model: ModelFile, quantization: str, photos: np.ndarray, kept_share: float
) -> ModelFile:
    from cannabis_ml.exporting.quantize import quantize

    kept = f", {kept_share:.0%} of the weights in float32" if quantization == "mixed" else ""
    logger.info("Trying %s%s …", quantization, kept)
    return quantize(model, quantization, photos, kept_share)


def _photos_in(outputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(outputs.values())))


def _changed_decisions(file: FileReport) -> float:
    return sum(1 - head.same_decisions for head in file.judged.values())
