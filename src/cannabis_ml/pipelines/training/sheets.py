"""Sheets of photos with predictions and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml._io.drawing import Figure
from cannabis_ml.evaluation.predictions import decide
from cannabis_ml.evaluation.scores import Thresholds
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.pipelines.training.figures import FAINT, INK, RIGHT, WRONG
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

SHEET_ROWS, SHEET_COLUMNS, SHEET_PIXELS = 4, 6, 224


def mistakes_sheet(mistakes: pd.DataFrame, photo_set: PhotoSet, head: Head, count: int) -> Figure:
    """Draw photos with wrong predictions, their probabilities and the labels.

    Args:
        mistakes: As `confident_mistakes` gives them, the most confident first.
        photo_set: Stored photos.
        head: Which head.
        count: Photos on the sheet, at most.
    """
    shown = mistakes.head(count)
    rows = max(1, -(-len(shown) // SHEET_COLUMNS))
    figure = Figure(figsize=(SHEET_COLUMNS * 2.3, 0.9 + rows * 2.8), layout="constrained")
    _leave_room_below(figure, 0.35)
    for axes in figure.subplots(rows, SHEET_COLUMNS, squeeze=False).flat:
        axes.axis("off")
    rows_of = photo_set.rows_by_id()
    for axes, record in zip(figure.axes, shown.to_dict("records"), strict=False):
        mistake: dict[Any, Any] = dict(record)
        row = rows_of[mistake["photo_id"]][0]
        axes.imshow(center_crop_resize(photo_set.pixels(row), SHEET_PIXELS))
        path = photo_set.labels_at(row).get("path")
        source = str(path or mistake["photo_id"]).replace("\\", "/")
        lines = [
            (_prediction(mistake, head), WRONG, 8.5),
            (f"true {mistake['true']} {mistake['probability_of_true']:.0%}", INK, 8.5),
            (_shortened(source.rsplit("/", 1)[-1], 34), FAINT, 6.5),
        ]
        for line, (text, color, size) in enumerate(lines):
            axes.text(
                0,
                -0.03 - 0.105 * line,
                _shortened(text, 34),
                color=color,
                fontsize=size,
                va="top",
                transform=axes.transAxes,
            )
    what = "attributes" if head.kind == "multilabel" else "test photos"
    title = f"{head.name}: the {len(shown)} most confident of {len(mistakes):,} wrong {what}"
    if mistakes.empty:
        title = f"{head.name}: no mistake on the test photos"
        figure.set_size_inches(SHEET_COLUMNS * 2.3, 1)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    return figure


def prediction_sheet(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    thresholds: Thresholds | None = None,
) -> Figure:
    """Draw test photos, evenly spread over the split, with predictions and labels per head.

    Right predictions are green, wrong ones red with the true label, grey where no label is known.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        thresholds: Of attributes, as `choose_thresholds` gives them.
    """
    test = predictions[predictions["split"] == Split.TEST].reset_index(drop=True)
    count = min(SHEET_ROWS * SHEET_COLUMNS, len(test))
    picked = test.iloc[np.linspace(0, len(test) - 1, count).astype(int)].reset_index(drop=True)
    decided = decide(picked, taxonomy, thresholds)
    rows_of = photo_set.rows_by_id()
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
    for i, (axes, prediction) in enumerate(
        zip(figure.axes, picked.to_dict("records"), strict=False)
    ):
        row = rows_of[prediction["photo_id"]][0]
        photo = photo_set.labels_at(row)
        axes.imshow(center_crop_resize(photo_set.pixels(row), SHEET_PIXELS))
        y = -0.03
        for head in taxonomy.heads:
            probs = np.asarray(prediction[head.name])
            if head.kind == "multilabel":
                text, color = _attributes_text(decided[head.name][i], photo, head)
            else:
                text, color = _class_text(int(decided[head.name][i]), probs, photo, head)
            axes.text(0, y, text, color=color, fontsize=7.5, va="top", transform=axes.transAxes)
            y -= line / photo_side
    figure.suptitle(
        "Test photos: green is right, red is wrong (true label in brackets),"
        " black has one attribute wrong, grey has no label",
        fontsize=11,
        color=INK,
    )
    return figure


def _prediction(mistake: Mapping[Any, Any], head: Head) -> str:
    """Without the probability of a median, which may be below that of the true class."""
    if head.kind == "ordinal":
        return f"predicted {mistake['predicted']} as the median"
    return f"predicted {mistake['predicted']} {mistake['probability']:.0%}"


def _class_text(
    predicted: int, probs: np.ndarray, photo: Mapping[str, object], head: Head
) -> tuple[str, str]:
    name = None if predicted == MISSING else head.class_names[predicted]
    true = photo[head.name]
    if name is None:
        text = "no answer"
    elif head.kind == "ordinal" and 0 < predicted < len(probs) - 1:
        # The median may be less probable by itself than another class: see `inference.reading`.
        text = f"{name} or better {min(1.0, probs[: predicted + 1].sum()):.0%}"
    else:
        text = f"{name} {probs[predicted]:.0%}"
    if true is None:
        return text, FAINT
    return (text, RIGHT) if name == true else (f"{text} ({true})", WRONG)


def _attributes_text(
    claimed: np.ndarray, photo: Mapping[str, object], head: Head
) -> tuple[str, str]:
    known = {name: head.is_shown(photo, name) for name in head.class_names}
    decided = {name for name, there in zip(head.class_names, claimed, strict=True) if there}
    judged = [name for name, value in known.items() if value is not None]
    if not judged:
        return f"{len(decided)} attributes", FAINT
    right = sum((name in decided) == known[name] for name in judged)
    text = f"{right} of {len(judged)} attributes"
    if right == len(judged):
        return text, RIGHT
    return text, INK if 0 < right == len(judged) - 1 else WRONG


def _leave_room_below(figure: Figure, inches: float) -> None:
    """Reserve space for the captions of the lowest row, which the layout ignores."""
    share = inches / figure.get_figheight()
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, share, 1, 1 - share))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
