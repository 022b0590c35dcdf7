"""Calibration errors: how far confidences are from observed frequencies.

An error of calibration that is estimated from few photos is above 0 even where every confidence is
true. So each comes with what a perfectly calibrated model would get: outcomes are drawn with the
very confidences as their probabilities, and judged in the same way.

Photos of one group, such as near-duplicates, are right or wrong together. A group counts as one
photo, is drawn as a whole, and where outcomes are drawn anew its photos share their luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cannabis_ml.evaluation.groups import group_shares

BINS = 15
"""Of the expected calibration error, as in most papers."""

DRAWS = 500

_MESH = 1001
_NARROWEST = 0.001
_HALVINGS = 10

_HAIR = 1e-9

_AT_ONCE = 2_000_000
"""Numbers of one array of drawn outcomes, at most."""


@dataclass(frozen=True)
class Events:
    """Binary predictions: the probability of each event, and whether it happened.

    Attributes:
        confidence: float64 (N,), in [0, 1].
        happened: bool (N,).
        groups: int64 (N,): events of a group count as one together.
        shared: int64 (N,): events of one number happen together as far as their probabilities
            allow, when outcomes are drawn; usually the groups.
        start: float64 (N,): drawn luck, in [0, 1), makes an event happen from here on, as far as
            its confidence reaches. So one draw decides which of several classes a photo has.
    """

    confidence: np.ndarray
    happened: np.ndarray
    groups: np.ndarray
    shared: np.ndarray
    start: np.ndarray

    @classmethod
    def of(
        cls, confidence: np.ndarray, happened: np.ndarray, groups: np.ndarray | None = None
    ) -> Events:
        """Events of photos; without groups each photo is one of its own."""
        groups = np.arange(len(confidence)) if groups is None else groups
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        confidence = np.clip(np.asarray(confidence, np.float64), 0.0, 1.0)
        start = np.zeros(len(confidence))
        return cls(confidence, np.asarray(happened, bool), groups, groups, start)

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def weights(self) -> np.ndarray:
        """float64 (N,), the same for all groups together; they sum to 1."""
        return group_shares(self.groups)

    def drawn(self, draws: int, seed: int) -> Iterator[np.ndarray]:
        """Outcomes of a perfectly calibrated model, bool (some, N), `draws` in all."""
        random = np.random.default_rng(seed)
        which = np.unique(self.shared, return_inverse=True)[1]
        luck = int(which.max()) + 1
        for rows in _portions(draws, len(self)):
            beyond = random.random((rows, luck))[:, which] - self.start
            yield (beyond >= 0) & (beyond < self.confidence)

    def resampled(self, draws: int, seed: int) -> Iterator[np.ndarray]:
        """Weights of samples of as many groups, drawn with replacement: (some, N)."""
        random = np.random.default_rng(seed)
        _, which = np.unique(self.groups, return_inverse=True)
        groups = int(which.max()) + 1
        for rows in _portions(draws, len(self)):
            times = random.multinomial(groups, np.full(groups, 1 / groups), rows)
            yield times[:, which] * self.weights


def binned_ece(events: Events, bins: int = BINS, equal_mass: bool = True) -> float:
    """Expected calibration error (Naeini et al. 2015).

    Args:
        events: At least one.
        bins: Into which confidences are sorted.
        equal_mass: Whether bins hold equally many groups, equal confidences together; or else are
            equally wide.

    Returns:
        The mean over bins of the distance between mean confidence and how often it happened.
    """
    return float(_binned(events, bins, equal_mass)(events.happened[None])[0])


def smooth_ece(events: Events) -> float:
    """Smooth ECE (Błasiok & Nakkiran 2023, arXiv 2309.12236), which needs no bins.

    The differences between outcome and confidence are smoothed along the confidences with a
    Gaussian, reflected at 0 and 1, whose width is the result itself: the widest at which smoothing
    finds no more error than that.

    Args:
        events: At least one.
    """
    return float(_Smoother(events).errors(events.happened[None])[0])


def smooth_ece_interval(
    events: Events, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of `smooth_ece`, over groups.

    The error is the size of a curve: the smoothed differences between outcome and confidence. A
    sample of a sample has more error than the sample, as this has more than the truth, so the
    errors of samples are biased; near 0 their quantiles never hold the truth. What is
    resampled is how far the curve is from the true one, by how far a sample's curve is from this
    one. By the triangle inequality the sizes of two curves differ by no more than that.

    Args:
        events: At least one.
        confidence: How often such an interval holds the true value, in (0, 1).
        draws: Samples.
        seed: Of the samples.

    Returns:
        Lower and upper end, within [0, 1].
    """
    smoother, value = _Smoother(events), smooth_ece(events)
    width = np.array([max(value, _NARROWEST)])
    apart = np.concatenate(
        [
            smoother.distances(events.happened[None], weights - events.weights, width)
            for weights in events.resampled(draws, seed)
        ]
    )
    most = float(np.quantile(apart, confidence))
    return max(0.0, value - most), min(1.0, value + most)


def perfect_binned_ece(
    events: Events, bins: int = BINS, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """`binned_ece` of perfectly calibrated models, float64 (draws,)."""
    judge = _binned(events, bins, True)
    return np.concatenate([judge(outcomes) for outcomes in events.drawn(draws, seed)])


def perfect_smooth_ece(events: Events, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """`smooth_ece` of perfectly calibrated models, float64 (draws,)."""
    smoother = _Smoother(events)
    return np.concatenate([smoother.errors(outcomes) for outcomes in events.drawn(draws, seed)])


@dataclass(frozen=True)
class Reliability:
    """Bins of a reliability diagram, each float64 or int64 (B,).

    Attributes:
        confidence: Mean of each bin.
        happened: How often it happened.
        photos: Events in each.
        low: Lower end of where `happened` lies for a perfectly calibrated model (Bröcker & Smith
            2007, Weather Forecast. 22:651).
        high: Upper end.
    """

    confidence: np.ndarray
    happened: np.ndarray
    photos: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reliability(
    events: Events,
    bins: int = BINS,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Reliability:
    """A reliability curve with its consistency band.

    Args:
        events: At least one.
        bins: Of equal mass, at most; those that equal confidences leave empty are left out.
        confidence: How often a perfectly calibrated model's bin lies within the band, in (0, 1).
        draws: Of outcomes, for the band.
        seed: Of these.
    """
    which = _bins(events, bins, True)
    bins_in_use, which = np.unique(which, return_inverse=True)
    member = np.eye(len(bins_in_use))[which] * events.weights[:, None]
    member /= member.sum(axis=0)
    drawn = np.concatenate([outcomes @ member for outcomes in events.drawn(draws, seed)])
    tail = (1 - confidence) / 2
    # Ends that were drawn, and a hair beyond: a share that equals one must not be cut by rounding.
    low = np.quantile(drawn, tail, axis=0, method="lower") - _HAIR
    high = np.quantile(drawn, 1 - tail, axis=0, method="higher") + _HAIR
    return Reliability(
        confidence=events.confidence @ member,
        happened=np.clip(events.happened @ member, 0, 1),
        photos=np.bincount(which, minlength=len(bins_in_use)),
        low=np.maximum(low, 0),
        high=np.minimum(high, 1),
    )


def _bins(events: Events, bins: int, equal_mass: bool) -> np.ndarray:
    """Bin of each event, int64 (N,), rising with its confidence."""
    if not equal_mass:
        return np.minimum((events.confidence * bins).astype(np.int64), bins - 1)
    _, which = np.unique(events.confidence, return_inverse=True)
    mass = np.bincount(which, weights=events.weights)
    middle = mass.cumsum() - mass / 2
    # Rounding must not decide on which side of an edge a value in the middle of it lies.
    bin_of = np.floor(bins * middle + 1e-9).astype(np.int64)
    return np.minimum(bin_of, bins - 1)[which]


def _binned(events: Events, bins: int, equal_mass: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Of outcomes (R, N) the binned ECE, (R,)."""
    member = np.eye(bins)[_bins(events, bins, equal_mass)] * events.weights[:, None]
    expected = events.confidence @ member
    return lambda outcomes: np.abs(outcomes @ member - expected).sum(axis=1)


class _Smoother:
    """Smooths what is known at each confidence, by cosine transform on a mesh over [0, 1]."""

    def __init__(self, events: Events) -> None:
        from scipy import fft, sparse

        self._fft, self._events = fft, events
        place = events.confidence * (_MESH - 1)
        left = np.minimum(place.astype(np.int64), _MESH - 2)
        share, rows = place - left, np.arange(len(events))
        self._on_mesh: Any = sparse.csr_array(
            (
                np.concatenate([1 - share, share]),
                (np.tile(rows, 2), np.concatenate([left, left + 1])),
            ),
            shape=(len(events), _MESH),
        )
        # Smoothing with a Gaussian that is reflected at both ends is a factor per frequency.
        self._decay = -0.5 * (np.pi * np.arange(_MESH)) ** 2
        # The sum over the mesh of what the inverse transform makes of each frequency.
        self._sums = np.where(np.arange(_MESH) % 2 == 0, 1.0, 0.0) / (_MESH - 1)
        self._sums[[0, -1]] /= 2
        self._sums[0] *= _MESH
        mass = fft.dct((events.weights @ self._on_mesh)[None], type=1, axis=1)
        self._mass = mass[0] * self._sums

    def errors(self, outcomes: np.ndarray) -> np.ndarray:
        """Smooth ECE of outcomes (R, N), (R,)."""
        curves = self._curves(outcomes, self._events.weights)
        wide, narrow = np.ones(len(curves)), np.zeros(len(curves))
        for _ in range(_HALVINGS):
            middle = (wide + narrow) / 2
            too_narrow = (middle < _NARROWEST) | (middle < self._sizes(curves, middle))
            wide, narrow = np.where(too_narrow, wide, middle), np.where(too_narrow, middle, narrow)
        return self._sizes(curves, wide)

    def distances(self, outcomes: np.ndarray, weights: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Size of the curves that outcomes and differences of weights, (R, N), make; (R,)."""
        return self._sizes(self._curves(outcomes, weights), width)

    def _curves(self, outcomes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        apart = weights * (self._events.confidence - outcomes)
        return self._fft.dct(apart @ self._on_mesh, type=1, axis=1)

    def _sizes(self, curves: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Mean absolute value of smoothed curves, where photos are; (R,)."""
        factor = np.exp(self._decay * width[:, None] ** 2)
        smooth = self._fft.idct(curves * factor, type=1, axis=1)
        return np.abs(smooth).sum(axis=1) / (factor @ self._mass)


def _portions(draws: int, events: int) -> Iterator[int]:
    most = max(1, min(200, _AT_ONCE // max(1, events)))
    for start in range(0, draws, most):
        yield min(most, draws - start)
