"""Calibrators: maps from the probabilities of a model file to calibrated ones.

Each is a few numbers, so it travels as JSON with the model that it was fitted to, and is applied
with NumPy alone; `cannabis_ml.calibration` fits them. `apply` takes the probabilities as model
files give them: zeros of quantized files are held above `SMALLEST` before a logarithm is taken.

`allowed` masks the classes that are possible given the class of a parent: the others keep
probability 0, and calibrated probabilities sum to 1 over those that are possible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from cannabis_ml.errors import BundleError, TaxonomyError
from cannabis_ml.taxonomy import Head, Kind

SMALLEST = 1e-30
"""Probabilities are held above this before their logarithm is taken: what is improbable stays
apart from what is forbidden."""

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a temperature and of its inverse. Those that networks need lie between 0.3 and 4; what
is beyond these bounds comes from an optimizer that diverged."""

_LARGEST = 1e4
_EDGE = 1e-12
"""A single probability is held this far from 0 and 1 before its logit is taken."""
_APART = 1e-9
"""How much, relatively, an answer that would lose its place stays above the next."""

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
_Slope = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=_LARGEST)]
_Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
_Temperature = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=COLDEST, le=HOTTEST, description="T")
]


class _Calibrator(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    head_kinds: ClassVar[tuple[Kind, ...]] = ("multiclass",)

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """Calibrate probabilities of one head.

        Args:
            probs: (..., K) in class order. Multiclass and ordinal: rows sum to 1 over what is
                allowed. Multilabel: each in [0, 1].
            allowed: bool, broadcasts to `probs`: which classes can be; None for all.

        Returns:
            float64 of the same shape and meaning.
        """
        raise NotImplementedError

    def faults(self, head: Head) -> list[str]:
        """Why this cannot be a calibrator of a head; empty where it can."""
        if head.kind not in self.head_kinds:
            return [f"the calibrator of {head.kind} head '{head.name}' is {self._kind_and_heads}"]
        count = self.classes
        if count is not None and count != len(head.classes):
            return [f"the calibrator of '{head.name}' has {count} classes, not {len(head.classes)}"]
        return []

    @property
    def classes(self) -> int | None:
        """K of the head it was fitted to; None where it serves any."""
        return None

    @property
    def _kind_and_heads(self) -> str:
        return f"'{getattr(self, 'kind', '')}', which is for {' and '.join(self.head_kinds)} heads"


class Uncalibrated(_Calibrator):
    """Leaves probabilities as they are."""

    head_kinds: ClassVar[tuple[Kind, ...]] = ("multiclass", "ordinal", "multilabel")

    kind: Literal["none"] = "none"

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(probs, np.float64)


class Temperature(_Calibrator):
    """softmax(log p / T) (Guo et al. 2017), mixed with the uniform distribution.

    The mixture, as `ts-mix` of probmetrics, bounds the loss of what seemed impossible among few
    calibration photos. Neither changes the order of the classes.
    """

    kind: Literal["temperature"] = "temperature"
    temperature: _Temperature
    smoothing: _Share = Field(default=0.0, description="Share of the uniform distribution")

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        scaled = _softmax(_logs(probs) / self.temperature, allowed)
        return _mixed(scaled, allowed, self.smoothing)


class Structured(_Calibrator):
    """Structured vector or matrix scaling, SVS and SMS (Berta et al. 2026).

    softmax(W x + b), where x are the logarithms of temperature-scaled probabilities. W is the
    diagonal, and with `others` the rest of the matrix (its own diagonal is 0).
    """

    kind: Literal["structured"] = "structured"
    temperature: _Temperature
    smoothing: _Share = 0.0
    diagonal: tuple[_Number, ...] = Field(min_length=2)
    bias: tuple[_Number, ...]
    others: tuple[tuple[_Number, ...], ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Structured:
        k = len(self.diagonal)
        rows = (self.bias, *(self.others or ()))
        if any(len(row) != k for row in rows) or len(self.others or self.diagonal) != k:
            raise ValueError("diagonal, bias and others are of different sizes")
        return self

    @property
    def classes(self) -> int:
        return len(self.diagonal)

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        first = Temperature(temperature=self.temperature, smoothing=self.smoothing)
        x = _logs(first.apply(probs, allowed))
        if allowed is not None:
            x = np.where(allowed, x, 0.0)
        scores = x * np.asarray(self.diagonal) + np.asarray(self.bias)
        if self.others is not None:
            scores = scores + x @ np.asarray(self.others).T
        return _softmax(scores, allowed)


class _OfConfidence(_Calibrator):
    """Maps the probability of the most probable class to how often it is right.

    The other classes share the rest as before. The most probable class stays so: its probability
    is not lowered below what keeps it there.
    """

    def curve(self, logit: np.ndarray) -> np.ndarray:
        """How often answers are right, from the logits of their probabilities."""
        raise NotImplementedError

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        p = _softmax(_logs(probs), allowed)
        top = np.arange(p.shape[-1]) == p.argmax(axis=-1)[..., None]
        others = np.where(top, 0.0, p)
        rest = others.sum(axis=-1, keepdims=True)
        second = others.max(axis=-1, keepdims=True)
        own = p.max(axis=-1, keepdims=True)
        alone = rest <= 0  # the only class that can be
        with np.errstate(divide="ignore", invalid="ignore"):
            sure = self.curve(np.log(own) - np.log(rest))
            least = second / (rest + second) * (1 + _APART)
            sure = np.clip(np.maximum(sure, least), 0.0, 1.0)
            shared = others * ((1 - sure) / rest)
        return np.where(alone, p, np.where(top, sure, shared))


class Platt(_OfConfidence):
    """sigmoid(slope * logit(confidence) + shift) (Platt 1999)."""

    kind: Literal["platt"] = "platt"
    slope: _Slope
    shift: _Number

    def curve(self, logit: np.ndarray) -> np.ndarray:
        return _sigmoid(self.slope * logit + self.shift)


class Beta(_OfConfidence):
    """sigmoid(a log(c) - b log(1 - c) + shift) of confidence c (Kull et al. 2017)."""

    kind: Literal["beta"] = "beta"
    a: _Slope
    b: _Slope
    shift: _Number

    def curve(self, logit: np.ndarray) -> np.ndarray:
        # log c = -log(1 + exp(-logit)), and log(1 - c) the same of -logit.
        return _sigmoid(
            -self.a * np.logaddexp(0, -logit) + self.b * np.logaddexp(0, logit) + self.shift
        )


class Isotonic(_OfConfidence):
    """A curve that never falls, straight between its knots (Zadrozny & Elkan 2002)."""

    kind: Literal["isotonic"] = "isotonic"
    confidence: tuple[_Share, ...] = Field(min_length=1)
    right: tuple[_Share, ...]
    smoothing: _Share = Field(default=0.0, description="Share of one half mixed in")

    @model_validator(mode="after")
    def _check(self) -> Isotonic:
        if len(self.confidence) != len(self.right):
            raise ValueError("confidence and right have different lengths")
        if any(b <= a for a, b in pairwise(self.confidence)):
            raise ValueError("confidence does not rise from knot to knot")
        if any(b < a for a, b in pairwise(self.right)):
            raise ValueError("right falls from knot to knot")
        return self

    def curve(self, logit: np.ndarray) -> np.ndarray:
        share_right = np.interp(_sigmoid(logit), self.confidence, self.right)
        return (1 - self.smoothing) * share_right + self.smoothing / 2


class Ordinal(_Calibrator):
    """scale * logit P(worse than k) + shift k, for each k.

    Shifts that do not rise with k keep the order, P(worse than k) falling with k, for every photo.
    With shifts of 0 the answer, which is the median, stays the same: `smoothing` mixes in a
    distribution with the same median, half of it on that class and half evenly on the others.
    """

    head_kinds: ClassVar[tuple[Kind, ...]] = ("ordinal",)

    kind: Literal["ordinal"] = "ordinal"
    scale: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1 / HOTTEST, le=1 / COLDEST)]
    shifts: tuple[_Number, ...] = Field(min_length=1, description="K - 1")
    smoothing: _Share = 0.0

    @model_validator(mode="after")
    def _check(self) -> Ordinal:
        if any(b > a for a, b in pairwise(self.shifts)):
            raise ValueError("shifts rise from class to class: the order of classes is lost")
        return self

    @property
    def classes(self) -> int:
        return len(self.shifts) + 1

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        logits = self.scale * cumulative_logits(probs) + np.asarray(self.shifts)
        p = _softmax(_logs(between(logits)), allowed)
        passed = (p.cumsum(axis=-1) < 0.5).sum(axis=-1)[..., None]
        can = np.broadcast_to(True if allowed is None else allowed, p.shape)
        is_median = (np.arange(p.shape[-1]) == passed) & can
        others = can & ~is_median
        # Nothing is mixed in where all others are forbidden, or rounding put the median there.
        count = others.sum(axis=-1, keepdims=True)
        weight = np.where((count > 0) & is_median.any(axis=-1, keepdims=True), self.smoothing, 0.0)
        spread = np.where(is_median, 0.5, np.where(others, 0.5 / np.maximum(count, 1), 0.0))
        return (1 - weight) * p + weight * spread


class Affine(_Calibrator):
    """sigmoid(slope * logit + shift), for each attribute of a multilabel head."""

    head_kinds: ClassVar[tuple[Kind, ...]] = ("multilabel",)

    kind: Literal["affine"] = "affine"
    slopes: tuple[_Slope, ...] = Field(min_length=1)
    shifts: tuple[_Number, ...]

    @model_validator(mode="after")
    def _check(self) -> Affine:
        if len(self.slopes) != len(self.shifts):
            raise ValueError("slopes and shifts have different lengths")
        return self

    @property
    def classes(self) -> int:
        return len(self.slopes)

    def apply(self, probs: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        calibrated = _sigmoid(logits_of(probs) * np.asarray(self.slopes) + np.asarray(self.shifts))
        return calibrated if allowed is None else np.where(allowed, calibrated, 0.0)


Calibrator = Annotated[
    Uncalibrated | Temperature | Structured | Platt | Beta | Isotonic | Ordinal | Affine,
    Field(discriminator="kind"),
]

_BY_HEAD: TypeAdapter[dict[str, Calibrator]] = TypeAdapter(dict[str, Calibrator])


def to_json(calibrators: Mapping[str, Calibrator]) -> str:
    """Calibrators by head as JSON; the same give the same text."""
    by_head = {name: one.model_dump(mode="json") for name, one in calibrators.items()}
    return json.dumps(by_head, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=True)


def from_json(text: str | bytes, where: str = "The file of calibrators") -> dict[str, Calibrator]:
    """Calibrators by head, as `to_json` wrote them.

    Args:
        text: JSON.
        where: What an error calls the place that it is from.

    Raises:
        BundleError: If it is not that: other fields, kinds or sizes, no numbers, or numbers out
            of bounds; names the first five places.
    """
    try:
        return _BY_HEAD.validate_json(text)
    except (ValidationError, TaxonomyError) as error:
        faults = _faults_of(error) if isinstance(error, ValidationError) else str(error)
        raise BundleError(
            f"{where} does not hold calibrators: {faults}. Get the bundle again from where it came,"
            " or make it anew: `kedro run --pipeline=bundle`."
        ) from error


def cumulative_logits(probs: np.ndarray) -> np.ndarray:
    """Logit of P(worse than k) for each class but the last, (..., K) -> (..., K - 1)."""
    p = np.maximum(np.asarray(probs, np.float64), SMALLEST)
    better = p.cumsum(axis=-1)[..., :-1]
    worse = p[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:]
    return np.log(worse) - np.log(better)


def between(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, from falling logits of P(worse than k): (..., K)."""
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), exact for small ones too.
    above, below = logits[..., :-1], logits[..., 1:]
    middle = _sigmoid(above) * _sigmoid(-below) * -np.expm1(np.minimum(below - above, 0.0))
    return np.concatenate([_sigmoid(-logits[..., :1]), middle, _sigmoid(logits[..., -1:])], axis=-1)


def logits_of(probs: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), finite."""
    p = np.clip(np.asarray(probs, np.float64), _EDGE, 1 - _EDGE)
    return np.log(p) - np.log1p(-p)


def _logs(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probs, np.float64), SMALLEST))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _softmax(scores: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Over what is allowed; rows that allow nothing are 0."""
    if allowed is None:
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)
    held = np.where(allowed, scores, -np.inf)
    highest = held.max(axis=-1, keepdims=True)
    raised = np.exp(held - np.where(np.isfinite(highest), highest, 0.0))
    total = raised.sum(axis=-1, keepdims=True)
    return raised / np.where(total > 0, total, 1.0)


def _mixed(probs: np.ndarray, allowed: np.ndarray | None, share: float) -> np.ndarray:
    """With a share of the uniform distribution over what is allowed."""
    if allowed is None:
        return (1 - share) * probs + share / probs.shape[-1]
    even = np.asarray(allowed) / np.maximum(np.sum(allowed, axis=-1, keepdims=True), 1)
    return (1 - share) * probs + share * even


def _faults_of(error: ValidationError) -> str:
    each: list[Any] = error.errors(include_url=False, include_input=False)
    faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".strip(": ")[:200] for e in each]
    return "; ".join(faults[:5])
