"""Two models on labelled photos: overall, head by head, class by class, and their calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.calibration_error import Events, perfect_smooth_ece, smooth_ece
from cannabis_ml.evaluation.calibration_scores import CalibrationError, answer_events, log_losses
from cannabis_ml.evaluation.comparison.answers import (
    STRANGER,
    ModelAnswers,
    own_labels,
    right_answers,
    same_classes,
)
from cannabis_ml.evaluation.comparison.paired import (
    PairedDifference,
    PairedParams,
    bootstrap_means,
    paired_difference,
)
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.taxonomy import MISSING, Head, Kind

CALIBRATION_DRAWS = 200
"""Samples of what a perfectly calibrated model would get."""


class LossDifference(Record):
    """Mean log loss of two models on the same photos, in nats; every group counts once."""

    champion: float
    challenger: float
    difference: float = Field(description="Challenger less champion: above 0 is worse")
    interval: Interval = Field(description="Paired bootstrap over groups")


class CalibrationDifference(Record):
    """Calibration of two models on the same photos."""

    champion: CalibrationError = Field(description="Smooth ECE")
    challenger: CalibrationError = Field(description="Smooth ECE")
    log_loss: LossDifference


class NewClass(Record):
    """A class that the champion does not know."""

    photos: int
    groups: int
    recall: float | None = Field(description="Of the challenger")
    recall_interval: Interval | None


class HeadComparison(Record):
    """One head of two models, on photos whose label both know."""

    kind: Kind
    difference: PairedDifference | None = Field(description="None without a label that both know")
    calibration: CalibrationDifference | None
    classes: dict[str, PairedDifference] = Field(
        description="Recall of each class that both know; of an attribute under its name where it"
        " is there, and under `not NAME` where it is absent"
    )
    new_classes: dict[str, NewClass]
    missing_classes: list[str] = Field(description="That the champion knows alone")


class ModelComparison(Record):
    """Two models on the same labelled photos."""

    photos: int
    groups: int
    overall: PairedDifference | None = Field(
        description="Share of a photo's labels that are answered right, over all heads; labels"
        " that both models know"
    )
    heads: dict[str, HeadComparison]
    new_heads: list[str]
    missing_heads: list[str] = Field(description="That the champion has alone")


def compare_models(
    champion: ModelAnswers,
    challenger: ModelAnswers,
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray,
    params: PairedParams | None = None,
) -> ModelComparison:
    """Compare two models on labelled photos that neither was trained on.

    Labels that the champion does not know count for neither: what is learned anew must not make up
    for what is forgotten.

    Args:
        champion: Its answers for N photos.
        challenger: The other's for the same photos.
        truth: Labels as from `Taxonomy.encode` of the challenger's taxonomy.
        groups: Of each photo a number or name, (N,).
        params: Confidence, and samples of the bootstrap.
    """
    params = params or PairedParams()
    groups = np.unique(np.asarray(groups), return_inverse=True)[1]
    theirs = {head.name for head in champion.taxonomy.heads}
    ours = {head.name for head in challenger.taxonomy.heads}
    shared = {
        head.name: _HeadPair(champion, challenger, head, truth[head.name], groups)
        for head in challenger.taxonomy.heads
        if head.name in theirs
    }
    overall = None
    if shared:
        before, after = (
            _mean_of_known(np.stack([_per_photo(pair.right[side]) for pair in shared.values()]))
            for side in (0, 1)
        )
        overall = paired_difference(before, after, groups, params)
    return ModelComparison(
        photos=len(groups),
        groups=len(np.unique(groups)),
        overall=overall,
        heads={name: pair.compared(params) for name, pair in shared.items()},
        new_heads=[h.name for h in challenger.taxonomy.heads if h.name not in theirs],
        missing_heads=[h.name for h in champion.taxonomy.heads if h.name not in ours],
    )


@dataclass(frozen=True)
class _HeadPair:
    """One head of two models and its labels, as `head`, the challenger's, encodes them."""

    champion: ModelAnswers
    challenger: ModelAnswers
    head: Head
    truth: np.ndarray
    groups: np.ndarray

    @property
    def _models(self) -> tuple[ModelAnswers, ModelAnswers]:
        return self.champion, self.challenger

    @property
    def _before(self) -> Head:
        own = self.champion.head(self.head.name)
        assert own is not None
        return own

    @cached_property
    def known_class(self) -> np.ndarray:
        """Whether the champion knows each class, bool (K,)."""
        return same_classes(self.head, self._before) != STRANGER

    @cached_property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """Right answers of both, NaN where either does not know the label."""
        if self.truth.ndim == 2:
            known = np.broadcast_to(self.known_class, self.truth.shape)
        else:
            known = np.append(self.known_class, False)[
                np.where(self.truth == MISSING, len(self.known_class), self.truth)
            ]
        before, after = (
            np.where(known, right_answers(model, self.head, self.truth), np.nan)
            for model in self._models
        )
        return before, after

    def compared(self, params: PairedParams) -> HeadComparison:
        before, after = self.right
        classes = {}
        for name, rows, column in self._classes():
            of_class = paired_difference(
                _column(before, column)[rows],
                _column(after, column)[rows],
                self.groups[rows],
                params,
            )
            if of_class is not None:
                classes[name] = of_class
        gone = same_classes(self._before, self.head) == STRANGER
        names = self.head.class_names
        return HeadComparison(
            kind=self.head.kind,
            difference=paired_difference(
                _per_photo(before), _per_photo(after), self.groups, params
            ),
            calibration=self._calibration(params),
            classes=classes,
            new_classes={names[k]: self._new(int(k)) for k in np.flatnonzero(~self.known_class)},
            missing_classes=[self._before.class_names[k] for k in np.flatnonzero(gone)],
        )

    def _classes(self) -> Iterator[tuple[str, np.ndarray, int | None]]:
        """Of each class that both know: its name, the rows with it, and its column."""
        for k in np.flatnonzero(self.known_class):
            name = self.head.class_names[k]
            if self.truth.ndim == 1:
                yield name, self.truth == k, None
            else:
                yield name, self.truth[:, k] == 1, int(k)
                yield f"not {name}", self.truth[:, k] == 0, int(k)

    def _new(self, k: int) -> NewClass:
        right = right_answers(self.challenger, self.head, self.truth)
        rows = self.truth == k if self.truth.ndim == 1 else self.truth[:, k] == 1
        is_right = _column(right, None if self.truth.ndim == 1 else k)[rows] == 1
        return NewClass(
            photos=int(rows.sum()),
            groups=len(np.unique(self.groups[rows])),
            recall=float(is_right.mean()) if len(is_right) else None,
            recall_interval=by_groups(is_right, self.groups[rows]) if len(is_right) else None,
        )

    def _calibration(self, params: PairedParams) -> CalibrationDifference | None:
        known = ~np.isnan(_per_photo(self.right[0]))
        if not known.any():
            return None
        groups, losses, errors = self.groups[known], [], []
        for model in self._models:
            own = model.head(self.head.name)
            assert own is not None
            labels = own_labels(model, self.head, self.truth)[known]
            if labels.ndim == 2:  # the attributes that both have
                both = same_classes(own, self._before) != STRANGER
                both &= same_classes(own, self.head) != STRANGER
                labels = np.where(both, labels, np.nan)
            probs = model.probs[self.head.name][known]
            losses.append(log_losses(probs, labels))
            predicted = model.decided[self.head.name][known]
            events = answer_events(probs, labels, groups, predicted)
            if not len(events):
                return None
            errors.append(_smooth_error(events, params))
        return CalibrationDifference(
            champion=errors[0],
            challenger=errors[1],
            log_loss=_loss_difference(losses[0], losses[1], groups, params),
        )


def _column(scores: np.ndarray, column: int | None) -> np.ndarray:
    return scores if column is None else scores[:, column]


def _per_photo(scores: np.ndarray) -> np.ndarray:
    """(N,), of a multilabel head the mean over its known attributes."""
    return scores if scores.ndim == 1 else _mean_of_known(scores.T)


def _mean_of_known(rows: np.ndarray) -> np.ndarray:
    """Means of the columns without NaN, (N,); NaN where nothing is known."""
    known = ~np.isnan(rows)
    counts = known.sum(axis=0)
    return np.where(counts, np.where(known, rows, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _smooth_error(events: Events, params: PairedParams) -> CalibrationError:
    """Smooth ECE, and how large that of a perfectly calibrated model would be."""
    perfect = perfect_smooth_ece(events, CALIBRATION_DRAWS, params.seed)
    tail = (1 - params.confidence) / 2
    low, high = np.quantile(perfect, [tail, 1 - tail])
    return CalibrationError(
        value=smooth_ece(events),
        perfect_mean=float(perfect.mean()),
        perfect_interval=(float(low), float(high)),
    )


def _loss_difference(
    champion: np.ndarray, challenger: np.ndarray, groups: np.ndarray, params: PairedParams
) -> LossDifference:
    _, which = np.unique(groups, return_inverse=True)
    sizes = np.bincount(which)
    before, after = (
        np.bincount(which, weights=losses) / sizes for losses in (champion, challenger)
    )
    tail = (1 - params.confidence) / 2
    samples = bootstrap_means(after - before, params.draws, params.seed)
    low, high = np.quantile(samples, [tail, 1 - tail])
    return LossDifference(
        champion=float(before.mean()),
        challenger=float(after.mean()),
        difference=float((after - before).mean()),
        interval=(float(low), float(high)),
    )
