"""Do the files answer as the network does, and as well?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.inference.tier import EMBEDDING, open_tier
from cannabis_ml.photos.resize import fit
from cannabis_ml.pipelines.export.params import ExportParams
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

if TYPE_CHECKING:
    import datasets

THRESHOLD = 0.5
"""Probability from which an attribute is said to be there."""

LARGER_THAN: Mapping[str, tuple[str, ...]] = {
    "mixed": ("weight_only_int8",),
    "float16": ("weight_only_int8", "dynamic_int8", "static_int8", "mixed"),
}
"""Recipes whose file is larger than that of others by what they do."""


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
    # A source often lists its photos class by class.
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def photos_at(photo_set: datasets.Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The photos of these rows, uint8 RGB (height, width, 3), one by one."""
    for row in rows:
        yield np.asarray(photo_set[int(row)]["image"].convert("RGB"))


def pixels_at(photo_set: datasets.Dataset, rows: np.ndarray, size: int) -> np.ndarray:
    """The photos of these rows as a model sees them: uint8 (N, size, size, 3)."""
    return np.stack([fit(photo, size) for photo in photos_at(photo_set, rows)])


def truth_at(
    photo_set: datasets.Dataset, rows: np.ndarray, taxonomy: Taxonomy
) -> dict[str, np.ndarray]:
    """Labels of these rows, encoded as by `Taxonomy.encode`."""
    columns = [name for name in taxonomy.columns if name in photo_set.column_names]
    table = photo_set.select_columns(columns).select(rows).to_pandas()
    return taxonomy.encode(table.reindex(columns=taxonomy.columns))


def answers_one_by_one(model: ModelFile, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What a file says of each photo alone, as a phone asks it.

    Dynamic quantisation takes its ranges over the batch: of several at once answers would differ.

    Args:
        model: The file.
        pixels: uint8 (N, S, S, 3).

    Returns:
        Every output by name, (N, …).
    """
    tier = open_tier(model)
    each = [tier.invoke(pixels[i : i + 1]) for i in range(len(pixels))]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def compare(
    taxonomy: Taxonomy,
    answers: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Hold a file's answers against PyTorch's, and both against the labels.

    Args:
        taxonomy: The heads.
        answers: The file's, by output (N, …).
        expected: PyTorch's.
        truth: As from `truth_at`.

    Returns:
        `embedding_difference`, the largest; and under `heads` per head kind,
        `largest_difference` of a probability, `same_answer`, the share of photos (of photos and
        attributes), `labelled`, the number of labels, `accuracy` and `accuracy_pytorch`, None
        without labels, and `accuracy_lost`.
    """
    heads = {}
    for head in taxonomy.heads:
        ours, theirs = answers[head.name], expected[head.name]
        accuracy, labelled = _accuracy(head, ours, truth[head.name])
        before, _ = _accuracy(head, theirs, truth[head.name])
        heads[head.name] = {
            "kind": head.kind,
            "largest_difference": float(np.abs(ours - theirs).max()),
            "same_answer": float((_decided(head, ours) == _decided(head, theirs)).mean()),
            "labelled": labelled,
            "accuracy": accuracy,
            "accuracy_pytorch": before,
            "accuracy_lost": None if accuracy is None or before is None else before - accuracy,
        }
    apart = np.abs(answers[EMBEDDING] - expected[EMBEDDING]).max()
    return {"embedding_difference": float(apart), "heads": heads}


def float_faults(found: Mapping[str, Any], export: ExportParams) -> list[str]:
    """Why a float file is not the network; empty where it is."""
    faults = []
    for name, head in found["heads"].items():
        # Written so that NaN counts as apart.
        if not head["largest_difference"] <= export.max_difference:
            faults.append(f"'{name}' by {head['largest_difference']:.2g}")
        elif head["same_answer"] < 1:
            faults.append(f"'{name}' in {1 - head['same_answer']:.2%} of top answers")
    return faults


def quantised_faults(found: Mapping[str, Any], export: ExportParams) -> list[str]:
    """Why a quantised file may not ship; empty where it may."""
    faults = []
    for name, head in found["heads"].items():
        if not np.isfinite(head["largest_difference"]):
            faults.append(f"'{name}' gives no numbers")
        allowed, lost = export.max_accuracy_loss[head["kind"]], head["accuracy_lost"]
        # Shares of a count: a photo exactly at the limit must not fail by rounding.
        if lost is not None and lost > allowed + 1e-9:
            faults.append(f"'{name}' loses {100 * lost:.1f} points, allowed {100 * allowed:g}")
    return faults


def smallest(sizes: Mapping[str, int], same_size: float) -> str | None:
    """The first of the smallest, in the order given; None without any.

    Args:
        sizes: Bytes by recipe, in order of preference.
        same_size: Share of the smallest up to which another counts as equally small.
    """
    if not sizes:
        return None
    limit = min(sizes.values()) * (1 + same_size)
    return next(name for name, size in sizes.items() if size <= limit)


def parity_table(parity: Mapping[str, Any]) -> pd.DataFrame:
    """A row per file and head of a parity report."""
    rows = []
    for recipe, file in parity["files"].items():
        about = {
            "file": recipe,
            "ships": recipe == parity["ships"],
            "passes": file["passes"],
            "bytes": file["bytes"],
            "share_of_float": file["share_of_float"],
        }
        rows += [{**about, "head": name, **head} for name, head in file["heads"].items()]
    return pd.DataFrame(rows)


def in_words(parity: Mapping[str, Any]) -> str:
    """What ships and why, in a sentence or two."""
    files = parity["files"]
    ships = parity["ships"]
    if ships != FLOAT:
        share = files[ships]["share_of_float"]
        return (
            f"{ships} ships: {files[ships]['bytes'] / 1e6:.2f} MB, {share:.0%} of the float file,"
            f" with answers as good on {parity['photos']} test photos."
        )
    tried = [f"{name} ({file['why']})" for name, file in files.items() if name != FLOAT]
    failed = [f"{name} ({why})" for name, why in parity["not_made"].items()]
    if not tried and not failed:
        return "The float file ships: no quantisation was asked for."
    said = f"The float file ships: no quantisation passed. {'; '.join([*tried, *failed])}."
    worst = [entry["layers"] for entry in parity["layers"][:3]]
    return f"{said} What hurts most: {', '.join(worst)}." if worst else said


def _accuracy(head: Head, probs: np.ndarray, truth: np.ndarray) -> tuple[float | None, int]:
    """Share of known labels that are met, and how many there are."""
    known = ~np.isnan(truth) if head.kind == "multilabel" else truth != MISSING
    if not known.any():
        return None, 0
    return float((_decided(head, probs) == truth)[known].mean()), int(known.sum())


def _decided(head: Head, probs: np.ndarray) -> np.ndarray:
    return probs >= THRESHOLD if head.kind == "multilabel" else head.answer(probs)
