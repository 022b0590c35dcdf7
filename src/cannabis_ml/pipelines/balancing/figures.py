"""Figures about balancing, for people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cannabis_ml._io.drawing import Figure
from cannabis_ml.taxonomy import Head

BEFORE, AFTER, INK = "#b9c4bd", "#1b7f5c", "#222222"


def balance(
    heads: list[Head],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    strategy: str,
) -> Figure:
    """Bars per class: photos of the training split, and what one epoch gives the class.

    Args:
        heads: The balanced heads, one panel each.
        before: Per head (K + 1,) training photos of each class, and unlabelled last.
        after: Per head (K + 1,) sum of the weights of the rows of each class, likewise.
        strategy: For the title.
    """
    names = {head.name: [*head.class_names, "(unlabelled)"] for head in heads}
    shown = {
        head.name: [i for i in range(len(names[head.name])) if _is_shown(i, before[head.name])]
        for head in heads
    }
    lines = sum(len(rows) for rows in shown.values())
    size = (8.5, max(2.2, 0.36 * lines + 0.95 * max(len(heads), 1)))
    figure = Figure(figsize=size, layout="constrained")
    if not heads:
        figure.text(0.5, 0.5, "No head to balance.", ha="center", color=INK)
        return figure
    ratios = [max(len(rows), 2) for rows in shown.values()]
    panels = figure.subplots(len(heads), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, head in zip(panels, heads, strict=True):
        at = np.arange(len(shown[head.name]))
        was, now = before[head.name][shown[head.name]], after[head.name][shown[head.name]]
        axes.barh(at - 0.2, was, 0.38, color=BEFORE, label="photos")
        axes.barh(at + 0.2, now, 0.38, color=AFTER, label=f"share of an epoch, {strategy}")
        for y, value in [*zip(at - 0.2, was, strict=True), *zip(at + 0.2, now, strict=True)]:
            text = f" {value:,.0f}" if value >= 10 or value == int(value) else f" {value:,.1f}"
            axes.text(value, y, text, va="center", fontsize=7, color=INK)
        axes.set_yticks(at, [names[head.name][i] for i in shown[head.name]])
        axes.set_title(f"{head.name}{_spread(before[head.name][:-1])}", loc="left", fontsize=10)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.02)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("training photos, each counted by its weight")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def _is_shown(index: int, counts: np.ndarray) -> bool:
    return index < len(counts) - 1 or counts[index] > 0


def _spread(counts: np.ndarray) -> str:
    seen = counts[counts > 0]
    return f": largest over smallest {seen.max() / seen.min():,.1f}" if seen.size else ""
