"""Comparison of exported files with PyTorch, and of quantized files with float ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.inference.tier import EMBEDDING, open_tier
from cannabis_ml.photos.resize import fit
from cannabis_ml.pipelines.export.params import AgreementParams, ExportParams
from cannabis_ml.taxonomy import MISSING, Taxonomy

if TYPE_CHECKING:
    import datasets

LARGER_THAN: Mapping[str, tuple[str, ...]] = {
    "mixed": ("weight_only_int8",),
    "float16": ("weight_only_int8", "dynamic_int8", "static_int8", "mixed"),
}
"""Quantizations whose file is always larger than those of the named others."""


def rows_of(photo_set: datasets.Dataset, split: str, most: int) -> np.ndarray:
    """Rows of a split, spread evenly over it where there are more than `most`.

    Raises:
        ExportError: If there are none.
    """
    rows = np.flatnonzero(np.asarray(photo_set["split"]) == split)
    if not rows.size:
        raise ExportError(
            f"No photo is in the {split} split, and export needs some. Give it a share under"
            " ingestion.split, or photos in a folder of that name."
        )
    return _spread(rows, most)


def photos_at(photo_set: datasets.Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The photos of these rows, uint8 RGB (height, width, 3), one by one."""
    for row in rows:
        yield np.asarray(photo_set[int(row)]["image"].convert("RGB"))


def pixels_at(photo_set: datasets.Dataset, rows: np.ndarray, size: int) -> np.ndarray:
    """The photos of these rows at a model's input size: uint8 (N, size, size, 3)."""
    return np.stack([fit(photo, size) for photo in photos_at(photo_set, rows)])


@dataclass(frozen=True)
class JudgedPhotos:
    """Photos on which quantized files are compared: no test and no calibration photos.

    Attributes:
        photo_set: Stored photos.
        rows: Rows of it, each photo once.
        copies: Augmented copies of training photos.
        copy_rows: Rows of those.
    """

    photo_set: datasets.Dataset
    rows: np.ndarray
    copies: datasets.Dataset
    copy_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows) + len(self.copy_rows)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        """Each at a model's input size, uint8 (size, size, 3), one by one."""
        for photo in photos_at(self.photo_set, self.rows):
            yield fit(photo, size)
        for photo in photos_at(self.copies, self.copy_rows):
            yield fit(photo, size)

    def truth(self, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
        """Labels of each, encoded as by `Taxonomy.encode`."""
        parts = [
            truth_at(photos, rows, taxonomy)
            for photos, rows in ((self.photo_set, self.rows), (self.copies, self.copy_rows))
            if len(rows)
        ]
        return {h.name: np.concatenate([part[h.name] for part in parts]) for h in taxonomy.heads}


def photos_to_judge(
    photo_set: datasets.Dataset,
    copies: datasets.Dataset,
    seen: Collection[int],
    agreement: AgreementParams,
) -> JudgedPhotos:
    """Photos of every split but test, then copies where there are too few.

    Args:
        photo_set: Stored photos.
        copies: Augmented copies of training photos; may be empty.
        seen: Rows that quantizers got as calibration photos.
        agreement: How many.

    Raises:
        ExportError: If there are none.
    """
    rows = np.flatnonzero(np.asarray(photo_set["split"]) != "test")
    rows = _spread(np.setdiff1d(rows, np.fromiter(seen, int)), agreement.photos)
    wanted = min(agreement.photos, agreement.fewest) - len(rows)
    copy_rows = _spread(np.arange(len(copies)), max(0, wanted))
    if not len(rows) + len(copy_rows):
        raise ExportError(
            "No photo is left to compare quantized files on: every one outside the test split was"
            " used to calibrate the quantizers. Add photos, or lower export.calibration_photos."
        )
    return JudgedPhotos(photo_set, rows, copies, copy_rows)


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, evenly spaced: sources often list photos class by class."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)] if most else rows[:0]


def truth_at(
    photo_set: datasets.Dataset, rows: np.ndarray, taxonomy: Taxonomy
) -> dict[str, np.ndarray]:
    """Labels of these rows, encoded as by `Taxonomy.encode`."""
    columns = [name for name in taxonomy.columns if name in photo_set.column_names]
    table = photo_set.select_columns(columns).select(rows).to_pandas()
    return taxonomy.encode(table.reindex(columns=taxonomy.columns))


def outputs_one_by_one(model: ModelFile, pixels: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a file for each photo alone, batch size 1, as on a phone.

    Dynamic quantization takes its ranges over the batch, so that larger batches change outputs.

    Args:
        model: The file.
        pixels: uint8 (S, S, 3) each, at least one.

    Returns:
        Every output by name, (N, …).
    """
    tier = open_tier(model)
    each = [tier.invoke(photo[None]) for photo in pixels]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def compare(
    decision: Decision,
    outputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Compare a file's outputs with PyTorch's, and the decisions of both with the labels.

    Args:
        decision: Turns outputs into decisions.
        outputs: The file's, by name (N, …).
        expected: PyTorch's.
        truth: As from `truth_at`.

    Returns:
        `embedding_difference`, the largest; and under `heads` per head kind,
        `largest_difference` of a probability, `same_answer`, the share of photos (of photos and
        attributes), `labelled`, the number of labels, `accuracy` and `accuracy_pytorch`, None
        without labels, and `accuracy_lost`.
    """
    heads = {}
    decided, reference = decision.decide(outputs), decision.decide(expected)
    for head in decision.taxonomy.heads:
        ours, theirs = outputs[head.name], expected[head.name]
        accuracy, labelled = _accuracy(decided[head.name], truth[head.name])
        before, _ = _accuracy(reference[head.name], truth[head.name])
        heads[head.name] = {
            "kind": head.kind,
            "largest_difference": float(np.abs(ours - theirs).max()),
            "same_answer": float((decided[head.name] == reference[head.name]).mean()),
            "labelled": labelled,
            "accuracy": accuracy,
            "accuracy_pytorch": before,
            "accuracy_lost": None if accuracy is None or before is None else before - accuracy,
        }
    apart = np.abs(outputs[EMBEDDING] - expected[EMBEDDING]).max()
    return {"embedding_difference": float(apart), "heads": heads}


def float_faults(found: Mapping[str, Any], export: ExportParams) -> list[str]:
    """Heads in which a float file differs from the network, and by how much."""
    faults = []
    for name, head in found["heads"].items():
        # Written so that NaN counts as apart.
        if not head["largest_difference"] <= export.max_difference:
            faults.append(f"'{name}' by {head['largest_difference']:.2g}")
        elif head["same_answer"] < 1:
            faults.append(f"'{name}' in {1 - head['same_answer']:.2%} of top answers")
    return faults


def agreement(
    decision: Decision,
    outputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Compare a quantized file's outputs and decisions with its float file's.

    Only the loss of accuracy needs labels.

    Args:
        decision: Turns outputs into decisions.
        outputs: The quantized file's, by name (N, …).
        expected: The float file's.
        truth: As from `truth_at`.

    Returns:
        Per head `kind`; `decisions`, photos (photos and attributes of a multilabel head), and
        `same_decisions`, the share that is equal; `mean_difference` of probabilities;
        `p99_difference`, over photos, of the largest difference of a probability; each with a 95%
        `_interval`; `labelled`, decisions with a label, `accuracy_lost`, None without labels, and
        `p_value` of McNemar's exact test, one-sided.
    """
    decided, reference = decision.decide(outputs), decision.decide(expected)
    return {
        head.name: {"kind": head.kind}
        | _differences(outputs[head.name], expected[head.name])
        | _same_decisions(decided[head.name] == reference[head.name])
        | _paired_loss(decided[head.name], reference[head.name], truth[head.name])
        for head in decision.taxonomy.heads
    }


def _same_decisions(same: np.ndarray) -> dict[str, Any]:
    return {
        "decisions": int(same.size),
        "same_decisions": float(same.mean()),
        "same_decisions_interval": wilson(int(same.sum()), same.size),
    }


def _differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    from scipy.stats import binom

    apart = np.abs(ours.astype(float) - theirs)
    means = apart.mean(axis=1)
    half = 1.96 * float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else float("inf")
    largest = np.sort(apart.max(axis=1))
    # Order statistics hold a quantile without assuming a distribution (Conover 1999, sec. 3.2).
    n = len(largest)
    ends = binom.ppf([0.025, 0.975], n, 0.99).astype(int).clip(0, n - 1)
    return {
        "mean_difference": float(means.mean()),
        "mean_difference_interval": [
            max(0.0, float(means.mean()) - half),
            float(means.mean()) + half,
        ],
        "p99_difference": float(np.quantile(largest, 0.99)),
        "p99_difference_interval": largest[ends].tolist(),
    }


def _paired_loss(decided: np.ndarray, reference: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Accuracy lost on the same photos, and the p-value of McNemar's exact test."""
    from scipy.stats import binomtest

    known = _known(truth)
    if not known.any():
        return {"labelled": 0, "accuracy_lost": None, "p_value": None}
    right, before = ((either == truth)[known] for either in (decided, reference))
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    p_value = binomtest(lost, lost + won, 0.5, "greater").pvalue if lost + won else 1.0
    return {
        "labelled": int(known.sum()),
        "accuracy_lost": (lost - won) / int(known.sum()),
        "p_value": float(p_value),
    }


SIGNIFICANT = 0.05
"""p-value below which a loss of accuracy counts as significant."""


def quantized_faults(heads: Mapping[str, Any], export: ExportParams) -> list[str]:
    """Reasons why a quantized file does not pass; empty if it does.

    Args:
        heads: As from `agreement`.
        export: What is allowed.
    """
    faults = []
    limits = export.agreement
    for name, head in heads.items():
        if not np.isfinite(head["mean_difference"]):
            faults.append(f"'{name}' gives no numbers")
            continue
        # Shares of a count: a photo exactly at the limit must not fail by rounding.
        if head["same_decisions"] < limits.min_same_decisions - 1e-9:
            faults.append(
                f"'{name}' decides as the float file in {head['same_decisions']:.1%},"
                f" {limits.min_same_decisions:.1%} needed"
            )
        for measure, most in (
            ("mean_difference", limits.max_mean_difference),
            ("p99_difference", limits.max_p99_difference),
        ):
            if head[measure] > most:
                words = measure.replace("_", " ").replace("p99", "99th percentile of")
                faults.append(f"'{name}' {words} is {head[measure]:.3f}, allowed {most:g}")
        allowed, lost = export.max_accuracy_loss[head["kind"]], head["accuracy_lost"]
        if lost is not None and lost > allowed + 1e-9 and head["p_value"] < SIGNIFICANT:
            faults.append(f"'{name}' loses {100 * lost:.1f} points, allowed {100 * allowed:g}")
    return faults


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


def parity_table(parity: Mapping[str, Any]) -> pd.DataFrame:
    """A row per file and head of a parity report; columns `judged_…` are what decided."""
    rows = []
    for quantization, file in parity["files"].items():
        about = {
            "file": quantization,
            "ships": quantization == parity["ships"],
            "passes": file["passes"],
            "bytes": file["bytes"],
            "share_of_float": file["share_of_float"],
        }
        for name, head in file["heads"].items():
            judged = file["judged"].get(name, {})
            found = {f"judged_{key}": value for key, value in judged.items() if key != "kind"}
            rows.append({**about, "head": name, **head, **found})
    return pd.DataFrame(rows)


def in_words(parity: Mapping[str, Any]) -> str:
    """Which file is selected and why, in a sentence or two."""
    files = parity["files"]
    ships = parity["ships"]
    if ships != FLOAT:
        file = files[ships]
        worst = min(file["judged"].values(), key=lambda head: head["same_decisions"])
        low, high = worst["same_decisions_interval"]
        judged = parity["judged"]
        return (
            f"{ships} ships: {file['bytes'] / 1e6:.2f} MB, {file['share_of_float']:.0%} of the"
            f" float file; every head decides as the float file's in at least"
            f" {worst['same_decisions']:.1%} ({low:.1%} to {high:.1%}) of {judged['photos']:,}"
            f" photos and {judged['copies']:,} copies, without test and calibration photos."
        )
    tried = [f"{name} ({file['why']})" for name, file in files.items() if name != FLOAT]
    failed = [f"{name} ({why})" for name, why in parity["not_made"].items()]
    if not tried and not failed:
        return "The float file ships: no quantization was configured."
    text = f"The float file ships: no quantization passed. {'; '.join([*tried, *failed])}."
    worst = [entry["layers"] for entry in parity["layers"][:3]]
    return f"{text} Layers with the largest error: {', '.join(worst)}." if worst else text


def _accuracy(decided: np.ndarray, truth: np.ndarray) -> tuple[float | None, int]:
    """Share of known labels that the decisions match, and how many are known."""
    known = _known(truth)
    if not known.any():
        return None, 0
    return float((decided == truth)[known].mean()), int(known.sum())


def _known(truth: np.ndarray) -> np.ndarray:
    return ~np.isnan(truth) if truth.ndim == 2 else truth != MISSING
