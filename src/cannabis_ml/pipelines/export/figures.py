"""Figures on exported files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cannabis_ml._io.drawing import Figure

if TYPE_CHECKING:
    from cannabis_ml._io.drawing import Axes
    from cannabis_ml.evaluation.parity import FileReport, ParityReport

PASSES, FAILS, INK, FAINT = "#1b7f5c", "#c2452d", "#222222", "#8a8a8a"

HEADS = ("#3b6fb6", "#b5651d", "#7a4fa3", "#1b7f5c", "#c2452d", "#8a8a8a")
"""Colors of heads."""

SMALLEST_DIFFERENCE = 1e-7
"""Smaller differences are drawn at this value: they are float32 rounding."""


def parity_figure(parity: ParityReport) -> Figure:
    """Draw size, agreement with the float file, and accuracy, a row per file.

    Args:
        parity: As `choose_quantized` reports it.
    """
    files = parity.files
    heads = list(next(iter(files.values())).heads)
    figure = Figure(
        figsize=(14, 2.4 + 0.5 * len(files) + 0.2 * (len(heads) // 4)), layout="constrained"
    )
    panels = figure.subplots(1, 4, sharey=True)
    _draw_sizes(panels[0], parity)
    _draw_differences(panels[1], parity, heads)
    _draw_decisions(panels[2], parity, heads)
    _draw_accuracy(panels[3], files, heads)
    for axes in panels:
        axes.set_ylim(len(files) - 0.5, -0.5)
        axes.grid(alpha=0.25, axis="x")
        axes.spines[["top", "right"]].set_visible(False)
    names = [f"{name}, ships" if name == parity.ships else name for name in files]
    panels[0].set_yticks(range(len(files)), names)
    for label, (name, file) in zip(panels[0].get_yticklabels(), files.items(), strict=True):
        label.set_color(INK if file.passes else FAILS)
        label.set_fontweight("bold" if name == parity.ships else "normal")
    labels = [*heads, "allowed to the float file"]
    figure.legend(
        panels[1].lines,
        labels,
        loc="outside lower center",
        ncols=min(6, len(labels)),
        frameon=False,
    )
    judged = parity.judged
    figure.suptitle(
        f"{parity.format}: {parity.ships} ships; judged on {judged.photos:,} photos and"
        f" {judged.copies:,} copies, reported on {parity.photos} test photos; red: does not"
        " pass",
        x=0.01,
        ha="left",
    )
    return figure


def _draw_sizes(axes: Axes, parity: ParityReport) -> None:
    for row, file in enumerate(parity.files.values()):
        size = file.bytes / 1e6
        axes.barh(row, size, height=0.55, color=PASSES if file.passes else FAILS, alpha=0.8)
        label = f" {size:.2f} ({file.share_of_float:.0%})"
        axes.text(size, row, label, va="center", fontsize=9, color=INK)
    axes.margins(x=0.35)
    axes.set_title("size, MB", loc="left", fontsize=10)


def _draw_differences(axes: Axes, parity: ParityReport, heads: list[str]) -> None:
    """The 99th percentile on judged photos; for the float file, the largest to PyTorch on test.

    The legend takes these lines in the order of the heads, not by labels: Matplotlib ignores
    labels that start with an underscore.
    """
    files = parity.files.values()
    for i, head in enumerate(heads):
        values = [
            f.judged[head].p99_difference if f.judged else f.heads[head].largest_difference
            for f in files
        ]
        axes.plot(
            [max(value, SMALLEST_DIFFERENCE) for value in values],
            _beside(len(values), i, len(heads)),
            "o",
            ms=6,
            color=HEADS[i % len(HEADS)],
        )
    axes.axvline(parity.allowed_difference, color=FAINT, ls=":")
    axes.set_xscale("log")
    axes.set_title(
        "99th percentile of probability\ndifferences (float: largest, to PyTorch)",
        loc="left",
        fontsize=10,
    )


def _draw_decisions(axes: Axes, parity: ParityReport, heads: list[str]) -> None:
    """Share of equal decisions with intervals, and the required share."""
    files = list(parity.files.values())
    for i, head in enumerate(heads):
        for row, file in zip(_beside(len(files), i, len(heads)), files, strict=True):
            if not file.judged:
                continue
            agreement = file.judged[head]
            ends = [100 * end for end in agreement.same_decisions_interval]
            axes.plot(ends, [row, row], color=HEADS[i % len(HEADS)], lw=1.5, alpha=0.6)
            axes.plot(100 * agreement.same_decisions, row, "o", ms=6, color=HEADS[i % len(HEADS)])
    axes.axvline(100 * parity.min_same_decisions, color=FAINT, ls=":")
    axes.set_title(
        "same decisions as the float file, %\n95% interval; dotted: required",
        loc="left",
        fontsize=10,
    )


def _draw_accuracy(axes: Axes, files: Mapping[str, FileReport], heads: list[str]) -> None:
    for i, head in enumerate(heads):
        color = HEADS[i % len(HEADS)]
        parities = [file.heads[head] for file in files.values()]
        rows = _beside(len(parities), i, len(heads))
        known = [
            (100 * f.accuracy, r)
            for f, r in zip(parities, rows, strict=True)
            if f.accuracy is not None
        ]
        axes.plot([v for v, _ in known], [r for _, r in known], "o", ms=6, color=color)
        if parities[0].accuracy_pytorch is not None:
            axes.axvline(100 * parities[0].accuracy_pytorch, color=color, lw=1, alpha=0.6)
    axes.set_title("accuracy on test photos, %\nline: PyTorch's", loc="left", fontsize=10)


def _beside(count: int, head: int, heads: int) -> list[float]:
    """Heights of a head's markers, so that those of one file do not overlap."""
    shift = 0.0 if heads == 1 else 0.4 * (head / (heads - 1) - 0.5)
    return [row + shift for row in range(count)]
