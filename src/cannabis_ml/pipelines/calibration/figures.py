"""Figures on the calibration of a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cannabis_ml._io.drawing import Figure
from cannabis_ml.evaluation.calibration_error import BINS
from cannabis_ml.evaluation.calibration_scores import CalibrationError, CalibrationScores

if TYPE_CHECKING:
    from cannabis_ml._io.drawing import Axes

WITHIN, OUTSIDE, INK, FAINT, BAND = "#1b7f5c", "#c2452d", "#222222", "#8a8a8a", "#cfd8d3"

SIZE = 4.6
"""Inches of one panel."""


def reliability_diagram(name: str, scores: dict[str, CalibrationScores]) -> Figure:
    """Draw how often answers are right against how sure they were, a panel per set of scores.

    Points on the diagonal are confidences that are true. Those of a perfectly calibrated model lie
    in the grey band; points outside it are red. Below stands how many answers have which
    confidence.

    Args:
        name: Of the head.
        scores: By title of the panel, such as `before calibration`: as from `score_head`.
    """
    figure = Figure(figsize=(SIZE * len(scores) + 0.4, SIZE + 2.7), layout="constrained")
    grid = figure.subplots(
        2, len(scores), height_ratios=[4, 1], sharex=True, sharey="row", squeeze=False
    )
    attributes = any(one.kind == "multilabel" for one in scores.values())
    for (curve, counts), (title, one) in zip(grid.T, scores.items(), strict=True):
        _draw_curve(curve, one)
        _draw_histogram(counts, one)
        curve.set_title("\n".join([title, *_in_words(one)]), loc="left", fontsize=9.5, color=INK)
        counts.set_xlabel(
            "probability that the attribute is there" if attributes else "confidence of the answer"
        )
    grid[0, 0].set_ylabel("share where it is there" if attributes else "share of answers right")
    grid[1, 0].set_ylabel("attributes" if attributes else "answers")
    first = next(iter(scores.values()))
    counted = f"{first.photos:,} photos"
    if first.groups < first.photos:
        counted += f" in {first.groups:,} groups, each counting as one"
    figure.suptitle(f"{name}: {counted}", fontsize=12, color=INK, x=0.01, ha="left")
    figure.supxlabel(
        f"grey: where {first.level:.0%} of the points of a perfectly calibrated model lie;"
        " red: points outside; all points stand for about as many photos",
        fontsize=8.5,
        color=FAINT,
    )
    return figure


def _draw_curve(axes: Axes, scores: CalibrationScores) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    bins = scores.reliability
    if not bins:
        axes.text(0.5, 0.5, "no photo has a label", ha="center", va="center", color=FAINT)
        return
    x = np.array([one.confidence for one in bins])
    y = np.array([one.right for one in bins])
    low, high = np.array([one.consistent for one in bins]).T
    if len(bins) > 1:
        axes.fill_between(x, low, high, color=BAND, lw=0)
    else:
        axes.plot([x[0], x[0]], [low[0], high[0]], color=BAND, lw=8, solid_capstyle="butt")
    axes.plot(x, y, color=INK, lw=1, alpha=0.5)
    inside = (low <= y) & (y <= high)
    colors = np.where(inside, WITHIN, OUTSIDE)
    axes.scatter(x, y, s=55, color=colors, zorder=3)


def _draw_histogram(axes: Axes, scores: CalibrationScores) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if not scores.histogram:
        return
    width = 1 / len(scores.histogram)
    left = np.arange(len(scores.histogram)) * width
    axes.bar(left, scores.histogram, width * 0.92, align="edge", color=FAINT, alpha=0.7)
    attributes = scores.kind == "multilabel"
    what, true = ("probability", "there") if attributes else ("confidence", "right")
    for value, color, label in (
        (scores.mean_confidence, INK, f"mean {what}"),
        (scores.accuracy, WITHIN, f"share {true}"),
    ):
        if value is not None:
            axes.axvline(value, color=color, lw=1.4, ls="--", label=f"{label} {value:.2f}")
    axes.legend(frameon=False, fontsize=7.5, loc="upper left")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def _in_words(scores: CalibrationScores) -> list[str]:
    """What stands above a panel: losses, the error, and whether chance explains it."""
    if scores.smooth_ece is None or scores.ece is None or scores.log_loss is None:
        return []
    losses = f"log loss {scores.log_loss:.3f}"
    if scores.calibration_loss is not None:
        losses += f", of which calibration {max(0.0, scores.calibration_loss):.3f}"
    smooth, binned = scores.smooth_ece, scores.ece
    lines = [
        losses,
        f"smooth ECE {_error(smooth)}",
        f"ECE of {BINS} bins {_error(binned)}",
    ]
    if not smooth.is_above_chance:
        return [*lines, "no more off than a perfect model is by chance", ""]
    return [*lines, "more off than a perfect model is by chance", _worst_point(scores)]


def _worst_point(scores: CalibrationScores) -> str:
    """Of the points outside the band, the one farthest from what it should be; nothing if none."""
    outside = [
        one for one in scores.reliability if not one.consistent[0] <= one.right <= one.consistent[1]
    ]
    if not outside:
        return ""
    worst = max(outside, key=lambda one: abs(one.right - one.confidence))
    what, true = "answers with confidence", "right"
    if scores.kind == "multilabel":
        what, true = "attributes with probability", "there"
    return f"of 100 {what} {worst.confidence:.2f}, about {100 * worst.right:.0f} are {true}"


def _error(error: CalibrationError) -> str:
    return f"{error.value:.3f} (a perfect model: up to {error.perfect_interval[1]:.3f})"
