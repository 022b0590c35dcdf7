"""Figures about a trained model, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cannabis_ml.photos.resize import fit
from cannabis_ml.taxonomy import Head, Taxonomy

if TYPE_CHECKING:
    import datasets
    from matplotlib.axes import Axes

RIGHT, WRONG, INK, FAINT = "#1b7f5c", "#c2452d", "#222222", "#8a8a8a"

SHEET_ROWS, SHEET_COLUMNS, SHEET_PIXELS = 4, 6, 224


def training_curves(history: pd.DataFrame) -> Figure:
    """Losses on the left, validation metrics on the right, the kept epoch marked.

    Args:
        history: One row per epoch with `epoch`, `train_loss`, `validation_loss` and a column per
            validation metric, named `validation_<head>_<metric>`.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, metrics = figure.subplots(1, 2)
    epochs = history["epoch"]
    kept = epochs.iloc[history["validation_loss"].argmin()]
    for column, label in (("train_loss", "training"), ("validation_loss", "validation")):
        losses.plot(epochs, history[column], marker="o", ms=4, label=label)
    losses.set(title="Loss", xlabel="epoch", ylabel="loss")
    for column in history.columns:
        if column.startswith("validation_") and not column.endswith("_loss"):
            label = column.removeprefix("validation_").replace("_", " ")
            metrics.plot(epochs, history[column], marker="o", ms=4, label=label)
    metrics.set(title="Validation accuracy", xlabel="epoch", ylim=(0, 1.02))
    for axes in (losses, metrics):
        axes.axvline(kept, color=FAINT, ls=":", lw=1.5, label="epoch kept")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    return figure


def confusion_matrix(counts: np.ndarray, head: Head) -> Figure:
    """Draw what was taken for what.

    Args:
        counts: Multiclass and ordinal: (K, K), true class by predicted class. Multilabel: (K, 4),
            true positives, false positives, false negatives, true negatives.
        head: Gives names and kind.
    """
    names = head.class_names
    if head.kind == "multilabel":
        columns = ["there,\nsaid so", "absent,\nsaid there", "there,\nmissed", "absent,\nsaid so"]
        # Shares of the photos that have it, or lack it: recall beside false alarms.
        have = counts[:, [0]] + counts[:, [2]]
        lack = counts[:, [1]] + counts[:, [3]]
        totals = np.concatenate([have, lack, have, lack], axis=1)
        ylabel, xlabel = "attribute", ""
    else:
        columns, totals = names, counts.sum(axis=1, keepdims=True)
        ylabel, xlabel = "true class", "predicted class"
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    cell = 0.75 if max(counts.shape) <= 12 else 0.36
    longest = max(len(name) for name in names)
    figure = Figure(
        figsize=(
            max(6.5, len(columns) * cell + longest * 0.09 + 1.6),
            max(
                4.0, len(names) * cell + (0 if head.kind == "multilabel" else longest * 0.06) + 1.4
            ),
        ),
        layout="constrained",
    )
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Greens", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(names)), names)
    if head.kind != "multilabel" and (longest > 6 or len(names) > 8):
        axes.tick_params(axis="x", rotation=90)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(f"{head.name}: {_photos_counted(counts, head)}", loc="left")
    _write_counts(axes, counts, share, fontsize=10 if cell > 0.5 else 6.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("share of that true class")
    return figure


def prediction_sheet(
    predictions: pd.DataFrame, photo_set: datasets.Dataset, taxonomy: Taxonomy
) -> Figure:
    """Test photos, evenly spread over the split, with the answers per head and the labels.

    Right answers are green, wrong ones red with the true label, grey where no label is known.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
    """
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    count = min(SHEET_ROWS * SHEET_COLUMNS, len(test))
    picked = test.iloc[np.linspace(0, len(test) - 1, count).astype(int)]
    row_of = {photo_id: row for row, photo_id in enumerate(photo_set["photo_id"])}
    rows = -(-count // SHEET_COLUMNS)
    # Inches: a square photo, then a line per head.
    photo_side, line = 2.2, 0.2
    height = photo_side + line * (len(taxonomy.heads) + 1)
    figure = Figure(figsize=(SHEET_COLUMNS * (photo_side + 0.15), rows * height + 0.5))
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1 - 0.4 / (rows * height + 0.5),
        bottom=line * (len(taxonomy.heads) + 1) / (rows * height + 0.5),
        wspace=0.06,
        hspace=line * (len(taxonomy.heads) + 1) / photo_side,
    )
    for axes in figure.subplots(rows, SHEET_COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, (_, prediction) in zip(figure.axes, picked.iterrows(), strict=False):
        photo = photo_set[row_of[prediction["photo_id"]]]
        axes.imshow(fit(np.asarray(photo["image"]), SHEET_PIXELS))
        y = -0.03
        for head in taxonomy.heads:
            text, colour = _answer(np.asarray(prediction[head.name]), photo, head)
            axes.text(0, y, text, color=colour, fontsize=7.5, va="top", transform=axes.transAxes)
            y -= line / photo_side
    figure.suptitle(
        "Test photos: green is right, red is wrong (true label in brackets),"
        " black has one attribute wrong, grey has no label",
        fontsize=11,
        color=INK,
    )
    return figure


def _answer(probs: np.ndarray, photo: dict, head: Head) -> tuple[str, str]:
    names = head.class_names
    if head.kind != "multilabel":
        at = int(head.answer(probs))
        said, true = names[at], photo[head.name]
        text = f"{said} {probs[at]:.0%}"
        if true is None:
            return text, FAINT
        return (text, RIGHT) if said == true else (f"{text} ({true})", WRONG)
    known = {name: photo[f"{head.name}.{name}"] for name in names}
    found = {name for name, p in zip(names, probs, strict=True) if p >= 0.5}
    judged = [name for name, value in known.items() if value is not None]
    if not judged:
        return f"{len(found)} attributes", FAINT
    right = sum((name in found) == bool(known[name]) for name in judged)
    text = f"{right} of {len(judged)} attributes"
    if right == len(judged):
        return text, RIGHT
    return text, INK if 0 < right == len(judged) - 1 else WRONG


def _photos_counted(counts: np.ndarray, head: Head) -> str:
    if head.kind == "multilabel":
        right, known = int(counts[:, [0, 3]].sum()), int(counts.sum())
        return f"{right:,} of {known:,} answers right, test split"
    right, known = int(np.trace(counts)), int(counts.sum())
    return f"{right:,} of {known:,} test photos right"


def _write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray, fontsize: float) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.6 else INK
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=fontsize
            )
