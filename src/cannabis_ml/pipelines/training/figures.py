"""Figures on a trained model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cannabis_ml._io.drawing import Figure
from cannabis_ml.evaluation.scores import (
    AttributeScores,
    ClassScores,
    Evaluation,
    HeadScores,
    HierarchyScores,
    MultilabelScores,
)
from cannabis_ml.evaluation.tables import interval_of, value_of
from cannabis_ml.taxonomy import Head

if TYPE_CHECKING:
    from cannabis_ml._io.drawing import Axes

RIGHT, WRONG, INK, FAINT = "#1b7f5c", "#c2452d", "#222222", "#8a8a8a"

SERIES = ("#1b7f5c", "#3b6fb6", "#b5651d", "#7a4fa3", "#8a8a8a", "#c2452d")
"""Colors of the tiers in a comparison."""

CELLS = ("true positives", "false positives", "false negatives", "true negatives")
"""Columns of the confusion matrix of a multilabel head."""

HEADLINES = {
    "accuracy": "accuracy",
    "accuracy_per_group": "accuracy per group",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "quadratic_weighted_kappa": "quadratic weighted kappa",
    "mean_absolute_error": "mean error in classes",
    "mean_average_precision": "mean average precision",
    "joint_accuracy": "joint accuracy",
    "joint_accuracy_per_group": "joint accuracy per group",
    "parent_accuracy": "accuracy of the parent",
    "impossible_pairs": "impossible pairs",
}
"""Titles of the metrics of a head."""


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw losses and validation metrics over the epochs, with the best epoch marked.

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
    """Draw a confusion matrix, colored by shares of the true class.

    Args:
        counts: Multiclass and ordinal: (K, K), true class by predicted class. Multilabel: (K, 4),
            true positives, false positives, false negatives, true negatives.
        head: Gives names and kind.
    """
    names = head.class_names
    if head.kind == "multilabel":
        columns = [name.replace(" ", "\n") for name in CELLS]
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


def head_report(name: str, test_metrics: Evaluation) -> Figure:
    """Draw precision, recall and F1 of every class of one head with their intervals.

    Above it the metrics of the whole head, and which classes go wrong too often. With more than a
    dozen classes they are ordered by F1, worst on top.

    Args:
        name: Of the head.
        test_metrics: As `score_predictions` gives them.
    """
    scores = test_metrics.heads[name]
    limit = test_metrics.error_limit
    attributes = isinstance(scores, MultilabelScores)
    classes: list[tuple[str, ClassScores]] = list(scores.per_class.items())
    if len(classes) > 12 and not attributes:
        classes.sort(key=lambda item: -1.0 if item[1].f1 is None else item[1].f1)
    lines = [_headline(scores), *_hierarchy_lines(test_metrics.hierarchy.get(name))]
    worst = textwrap.wrap(scores.in_words, 118) if scores.n else []
    longest = max(len(label) for label, _ in classes)
    height = 1.5 + 0.2 * (len(lines) + len(worst)) + 0.36 * max(3, len(classes))
    figure = Figure(figsize=(10.5 + 0.06 * longest, height), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    rows = np.arange(len(classes))
    for axes, measure in zip(panels, ("precision", "recall", "f1"), strict=True):
        for row, (_, values) in zip(rows, classes, strict=True):
            value, ends = value_of(values, measure), interval_of(values, measure)
            if value is None or ends is None:
                axes.text(0.5, row, "–", ha="center", va="center", color=FAINT)
                continue
            bad = values.error is not None and values.error > limit
            color = WRONG if bad else RIGHT
            axes.plot(ends, [row, row], color=color, lw=2, alpha=0.45)
            axes.plot(value, row, "o", ms=6, color=color)
        title = "F1" if measure == "f1" else measure
        axes.set(title=title, xlim=(-0.02, 1.02), xticks=np.linspace(0, 1, 6))
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, [label for label, _ in classes])
    panels[0].set_ylim(len(classes) - 0.5, -0.5)
    # What precision, recall and F1 rest on, at the right edge.
    for row, (_, values) in zip(rows, classes, strict=True):
        panels[2].text(1.05, row, _support(values), va="center", color=FAINT, fontsize=9)
    has = "have it, threshold" if attributes else "photos"
    if not attributes and scores.groups < scores.n:
        has += " in groups"
    panels[2].text(1.05, -0.62, has, va="bottom", color=FAINT, fontsize=9)
    bars = f"bars: {test_metrics.confidence:.0%} intervals by groups"
    bars += f"; red: error above {limit:.0%}"
    figure.supxlabel(bars, fontsize=9, color=FAINT)
    title = "\n".join([f"{name}: {_in_groups(scores.n, scores.groups)}", *lines, *worst])
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def tier_comparison(table: pd.DataFrame, tiers: list[str]) -> Figure:
    """Draw the metrics of the tiers, a panel per head.

    Args:
        table: As `compare_tiers` makes it.
        tiers: Their names, which are columns of the table.
    """
    if table.empty:
        figure = Figure(figsize=(9, 1.2))
        figure.suptitle("No test photo has a label: nothing to compare")
        return figure
    groups = {str(head): group for head, group in table.groupby("head", sort=False)}
    sizes = [len(group) for group in groups.values()]
    step = 0.13 + 0.19 * len(tiers)
    figure = Figure(figsize=(10, 1.1 + sum(sizes) * step + 0.75 * len(sizes)), layout="constrained")
    ratios = [size + 0.6 for size in sizes]
    panels = figure.subplots(len(groups), 1, height_ratios=ratios, squeeze=False, sharex=True)
    largest = max(1.0, np.nanmax(table[tiers].to_numpy(float)))
    for axes, (head, group) in zip(panels[:, 0], groups.items(), strict=True):
        for row, scores in enumerate(group.to_dict("records")):
            for place, tier in enumerate(tiers):
                y = row + (place - (len(tiers) - 1) / 2) * 0.8 / len(tiers)
                _draw_value(axes, y, scores, tier, SERIES[place % len(SERIES)])
        labels = [
            HEADLINES[m] + (" (lower is better)" if better == "lower" else "")
            for m, better in zip(group["metric"], group["better"], strict=True)
        ]
        axes.set_yticks(range(len(group)), labels)
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.set_xlim(0, largest * 1.12)
        counted = _in_groups(group["photos"].max(), group["groups"].max())
        axes.set_title(f"{head}, {counted}", loc="left", fontsize=10.5)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [
        panels[0, 0].plot([], [], "o", color=SERIES[i % len(SERIES)], label=tier)[0]
        for i, tier in enumerate(tiers)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(tiers), frameon=False)
    return figure


def _headline(scores: HeadScores) -> str:
    metrics = []
    for metric, title in HEADLINES.items():
        value = value_of(scores, metric)
        if value is None or (metric.endswith("_per_group") and scores.groups == scores.n):
            continue
        ends = interval_of(scores, metric)
        between = f" ({ends[0]:.0%} to {ends[1]:.0%})" if ends else ""
        share = metric in ("accuracy", "accuracy_per_group", "balanced_accuracy")
        metrics.append(f"{title} {value:.0%}{between}" if share else f"{title} {value:.2f}")
    return ", ".join(metrics) or "no test photo has a label of this head"


def _support(scores: ClassScores) -> str:
    if isinstance(scores, AttributeScores):
        return f"{scores.support:,} of {scores.n:,}, from {scores.threshold:.2f}"
    in_groups = f" in {scores.groups:,}" if scores.groups < scores.support else ""
    return f"{scores.support:,}{in_groups}"


def _in_groups(photos: int, groups: int) -> str:
    return f"{photos:,} test photos in {groups:,} group{'' if groups == 1 else 's'}"


def _hierarchy_lines(scores: HierarchyScores | None) -> list[str]:
    if scores is None or not scores.n:
        return []
    return [
        f"together with {scores.parent}: both right {scores.joint_accuracy:.0%}, "
        f"{scores.parent} right {scores.parent_accuracy:.0%}, "
        f"impossible pairs {scores.impossible_pairs:.0%}"
    ]


def _draw_value(axes: Axes, y: float, scores: Mapping[Any, Any], tier: str, color: str) -> None:
    value, low, high = (scores[tier + end] for end in ("", "_low", "_high"))
    if pd.isna(value):
        axes.text(0.01, y, "–", color=color, va="center", fontsize=8)
        return
    axes.plot([0, value], [y, y], color=color, lw=1, alpha=0.25)
    end = value
    if not pd.isna(low):
        axes.plot([low, high], [y, y], color=color, lw=4, alpha=0.3, solid_capstyle="butt")
        end = max(value, high)
    axes.plot(value, y, "o", ms=5, color=color)
    axes.annotate(
        f"{value:.3f}", (end, y), (6, 0), textcoords="offset points", va="center", fontsize=8
    )


def _photos_counted(counts: np.ndarray, head: Head) -> str:
    if head.kind == "multilabel":
        right, known = int(counts[:, [0, 3]].sum()), int(counts.sum())
        return f"{right:,} of {known:,} attributes right, test split"
    right, known = int(np.trace(counts)), int(counts.sum())
    return f"{right:,} of {known:,} test photos right"


def _write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray, fontsize: float) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if share[row, column] > 0.6 else INK
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=fontsize
            )
