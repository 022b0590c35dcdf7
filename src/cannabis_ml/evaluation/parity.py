"""Comparison of exported files with PyTorch, and the report on the files of a tier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np
import pandas as pd
from pydantic import Field

from cannabis_ml.evaluation.agreement import HeadAgreement, known_labels
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.inference.outputs import relative_difference
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.taxonomy import Kind

BLOCK = 50
"""Photos after which `outputs_one_by_one` asks whether they are enough."""


class HeadParity(Record):
    """One head of a file beside PyTorch's, on test photos."""

    kind: Kind
    largest_difference: float = Field(description="Largest |difference| of a probability")
    same_decisions: float = Field(
        description="Share of photos, or photos times attributes, with the same decision"
    )
    labelled: int = Field(description="Decisions with a label")
    accuracy: float | None = Field(description="None without labels")
    accuracy_pytorch: float | None
    accuracy_lost: float | None


class Parity(Record):
    """A file beside PyTorch."""

    outputs: dict[str, float] = Field(
        description="Largest |difference| of every output besides the probabilities (embedding,"
        " uncertainties, attention), relative to its largest value where that is above 1; infinite"
        " where it is missing or has another shape"
    )
    heads: dict[str, HeadParity]


class FileReport(Parity):
    """Size, parity and agreement of one file of a tier."""

    bytes: int
    share_of_float: float = Field(description="Of the float file's bytes")
    passes: bool
    why: str = Field(description="Why it does not pass; empty where it does")
    judged: dict[str, HeadAgreement] = Field(
        description="By head, on the photos that decide; empty of the float file"
    )


class PageFileReport(FileReport):
    """A file for web pages: beside PyTorch, beside the float file, and beside what ships."""

    with_shipped: dict[str, HeadAgreement] = Field(
        description="By head, agreement with the file that ships, on the photos that decide"
    )


class PageReport(Record):
    """The files of a tier that were tried for web pages."""

    ships: str | None = Field(description="A name in `files`; None where none passed")
    float_parity: Parity = Field(description="Of the float TFLite file that the others come from")
    files: dict[str, PageFileReport] = Field(description="By quantization")
    not_made: dict[str, str] = Field(description="The error, by quantization")

    def summary(self) -> str:
        """Which file web pages get and why, in a sentence or two."""
        faults = {name: file.why for name, file in self.files.items() if not file.passes}
        failed = [f"{name} ({why})" for name, why in (faults | self.not_made).items()]
        if self.ships is None:
            return f"Web pages get no file of this tier: {'; '.join(failed)}."
        file = self.files[self.ships]
        worst = min(file.with_shipped.values(), key=lambda head: head.same_decisions)
        apart = max(head.mean_difference for head in file.with_shipped.values())
        text = (
            f"Web pages get {self.ships}: {file.bytes / 1e6:.2f} MB; every head decides as that of"
            f" the file that ships in at least {worst.same_decisions:.1%}, probabilities differ by"
            f" {apart:.4f} on average at most."
        )
        return f"{text} Not {'; '.join(failed)}." if failed else text


class JudgedCounts(Record):
    """Photos that decided which file ships."""

    photos: int
    copies: int


class LayerChange(Record):
    """Layers, and the error that quantizing them alone causes."""

    layers: str
    quantization: str
    change: float


class ParityReport(Record):
    """The files of a tier that were tried, and which of them ships."""

    photos: int = Field(description="Test photos that files are reported on")
    calibration_photos: int = Field(description="That quantizers got")
    judged: JudgedCounts
    min_same_decisions: float
    format: str
    allowed_difference: float = Field(description="Of a float file's outputs to PyTorch's")
    allowed_accuracy_loss: dict[Kind, float]
    ships: str = Field(description="A name in `files`")
    files: dict[str, FileReport] = Field(description="By quantization, the float file first")
    not_made: dict[str, str] = Field(description="The error, by quantization")
    not_tried: dict[str, str] = Field(description="The reason, by quantization")
    layers: list[LayerChange] = Field(
        description="Largest error first; where no quantization passed"
    )
    page: PageReport | None = Field(
        default=None, description="Of the file for web pages; None where none was asked for"
    )
    in_words: str = Field(default="", description="Which file is selected and why")

    def summary(self) -> str:
        """Which file is selected and why, in a sentence or two."""
        text = self._why_it_ships()
        return text if self.page is None else f"{text} {self.page.summary()}"

    def _why_it_ships(self) -> str:
        if self.ships != FLOAT:
            return self._what_ships()
        tried = [f"{name} ({file.why})" for name, file in self.files.items() if name != FLOAT]
        failed = [f"{name} ({why})" for name, why in self.not_made.items()]
        if not tried and not failed:
            return "The float file ships: no quantization was configured."
        text = f"The float file ships: no quantization passed. {'; '.join([*tried, *failed])}."
        worst = [entry.layers for entry in self.layers[:3]]
        return f"{text} Layers with the largest error: {', '.join(worst)}." if worst else text

    def _what_ships(self) -> str:
        file = self.files[self.ships]
        worst = min(file.judged.values(), key=lambda head: head.same_decisions)
        low, high = worst.same_decisions_interval
        return (
            f"{self.ships} ships: {file.bytes / 1e6:.2f} MB, {file.share_of_float:.0%} of the"
            f" float file; every head decides as the float file's in at least"
            f" {worst.same_decisions:.1%} ({low:.1%} to {high:.1%}) of {self.judged.photos:,}"
            f" photos and {self.judged.copies:,} copies, without test and calibration photos."
        )

    def table(self) -> pd.DataFrame:
        """A row per file and head; columns `judged_…` are what decided."""
        rows = []
        files = [(name, name == self.ships, file) for name, file in self.files.items()]
        if self.page is not None:
            ships = self.page.ships
            files += [(f"page, {n}", n == ships, file) for n, file in self.page.files.items()]
        for shown, is_shipped, file in files:
            about: dict[str, object] = {
                "file": shown,
                "ships": is_shipped,
                "passes": file.passes,
                "bytes": file.bytes,
                "share_of_float": file.share_of_float,
            }
            for name, head in file.heads.items():
                judged = dict(file.judged[name]) if name in file.judged else {}
                agreement = {f"judged_{key}": v for key, v in judged.items() if key != "kind"}
                rows.append({**about, "head": name, **dict(head), **agreement})
        return pd.DataFrame(rows)


def outputs_one_by_one(
    model: ModelFile,
    pixels: Iterable[np.ndarray],
    is_enough: Callable[[Mapping[str, np.ndarray]], bool] | None = None,
) -> dict[str, np.ndarray]:
    """Outputs of a file for each photo alone, batch size 1, as on a phone.

    Dynamic quantization takes its ranges over the batch, so that larger batches change outputs.

    Args:
        model: The file.
        pixels: uint8 RGB (S, S, 3) each, at least one.
        is_enough: Given the outputs of every next `BLOCK` photos; True leaves out the rest.

    Returns:
        Every output by name, (N, …).
    """
    predictor, left, blocks = open_model(model), iter(pixels), []
    while block := list(islice(left, BLOCK)):
        each = [predictor.invoke(photo[None]) for photo in block]
        blocks.append({name: np.concatenate([one[name] for one in each]) for name in each[0]})
        if is_enough is not None and is_enough(blocks[-1]):
            break
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def compare(
    decision: Decision,
    outputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> Parity:
    """Compare a file's outputs with PyTorch's, and the decisions of both with the labels.

    Args:
        decision: Turns outputs into decisions.
        outputs: The file's, by name (N, …).
        expected: PyTorch's.
        truth: As from `Taxonomy.encode`.
    """
    heads = {}
    ours, theirs = decision.decide(outputs), decision.decide(expected)
    for head in decision.taxonomy.heads:
        accuracy, labelled = _accuracy(ours[head.name], truth[head.name])
        before, _ = _accuracy(theirs[head.name], truth[head.name])
        heads[head.name] = HeadParity(
            kind=head.kind,
            largest_difference=float(np.abs(outputs[head.name] - expected[head.name]).max()),
            same_decisions=float((ours[head.name] == theirs[head.name]).mean()),
            labelled=labelled,
            accuracy=accuracy,
            accuracy_pytorch=before,
            accuracy_lost=None if accuracy is None or before is None else before - accuracy,
        )
    others = {
        name: relative_difference(values, outputs.get(name))
        for name, values in expected.items()
        if name not in heads
    }
    return Parity(outputs=others, heads=heads)


def parity_faults(parity: Parity, max_difference: float) -> list[str]:
    """Outputs in which a float file differs from the network, and by how much.

    Args:
        parity: As from `compare`.
        max_difference: Largest allowed |difference| of a probability and of other outputs.
    """
    faults = []
    for name, head in parity.heads.items():
        # Written so that NaN counts as apart.
        if not head.largest_difference <= max_difference:
            faults.append(f"'{name}' by {head.largest_difference:.2g}")
        elif head.same_decisions < 1:
            faults.append(f"'{name}' in {1 - head.same_decisions:.2%} of decisions")
    for name, apart in parity.outputs.items():
        if not apart <= max_difference:  # as above
            faults.append(f"'{name}' by {apart:.2g}")
    return faults


def _accuracy(predicted: np.ndarray, truth: np.ndarray) -> tuple[float | None, int]:
    """Share of known labels that the decisions match, and how many are known."""
    known = known_labels(truth)
    if not known.any():
        return None, 0
    return float((predicted == truth)[known].mean()), int(known.sum())
