"""Unknown scores: how unlike the training photos a photo is.

A score reads what a model file gives, its embedding or the probabilities of one head, and costs a
few matrix products in NumPy. `cannabis_ml.calibration.unknown` fits it and chooses the threshold.
It never stands in for the probability of being right: a photo may be well known and hard.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from cannabis_ml.errors import BundleError
from cannabis_ml.inference.decision import SMALLEST
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.taxonomy import Taxonomy

Method = Literal[
    "max_probability",
    "gen",
    "energy",
    "nci",
    "fdbd",
    "mahalanobis",
    "relative_mahalanobis",
    "knn",
]

METHODS: tuple[Method, ...] = get_args(Method)
"""The simplest first: of scores that are equally good, the first is taken."""

_GEN_EDGE = 1e-7
"""Probabilities are held this far from 0 and 1: their tenth powers would depend on the runtime."""

_VERSION = 1
_HEADER = "header"


@dataclass(frozen=True, eq=False)
class UnknownScore:
    """A fitted unknown score.

    Attributes:
        method: One of `METHODS`.
        head: Name of the head whose probabilities are read; features are read otherwise.
        arrays: What was fitted, float32; see `_ARRAYS` for the names and shapes.
        numbers: What was set: `gamma`, `classes`, `k`, `alpha`, `scale` and the like.
        threshold: A photo is unknown above it; infinity where none was chosen.
        kept: Share of known photos that the threshold was to keep; None where none was chosen.
        groups: Groups of known photos that the threshold rests on.
    """

    method: Method
    head: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, float] = field(default_factory=dict)
    threshold: float = np.inf
    kept: float | None = None
    groups: int = 0

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise BundleError(f"The unknown score makes no sense: {'; '.join(faults)}.")

    def score(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """How unlike the training photos.

        Args:
            outputs: Of a model file: probabilities (N, K) under the name of `head`, raw, not
                calibrated; and `embedding` (N, F).

        Returns:
            float64 (N,), higher is less known; not a probability, and of a scale of its own.

        Raises:
            KeyError: If an output is not there.
        """
        if self.method in _OF_PROBS:
            probs = np.asarray(outputs[self.head], np.float64)
            return _OF_PROBS[self.method](probs, self.numbers)
        features = np.asarray(outputs[EMBEDDING], np.float64)
        return _OF_FEATURES[self.method](features, self._float64, self.numbers)

    @cached_property
    def _float64(self) -> dict[str, np.ndarray]:
        """Distances are differences of large numbers; float32 would lose them."""
        return {name: values.astype(np.float64) for name, values in self.arrays.items()}

    def is_unknown(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether the score is above the threshold, bool (N,)."""
        return self.score(outputs) > self.threshold

    def faults(self, taxonomy: Taxonomy) -> Iterator[str]:
        """Where the score does not fit a taxonomy."""
        heads = {head.name: head for head in taxonomy.heads if head.kind != "multilabel"}
        if self.head not in heads:
            yield f"its head '{self.head}' is not a multiclass or ordinal head"
        elif "weight" in self.arrays:
            count, expected = len(self.arrays["weight"]), len(heads[self.head].classes)
            if count != expected:
                yield f"it has {count} classes, '{self.head}' has {expected}"

    @property
    def features(self) -> int | None:
        """F of the embedding that it reads; None where it reads probabilities."""
        sides = (
            self.arrays[name].shape[letters.index("F")]
            for name, letters in _ARRAYS[self.method].items()
            if "F" in letters
        )
        return next(sides, None)

    @property
    def size(self) -> int:
        """Bytes of the arrays."""
        return sum(values.nbytes for values in self.arrays.values())

    def to_bytes(self) -> bytes:
        """A file for a bundle: `.npz` without pickles, the same bytes for the same score."""
        header = {
            "version": _VERSION,
            "method": self.method,
            "head": self.head,
            "numbers": {name: float(value) for name, value in self.numbers.items()},
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "kept": self.kept,
            "groups": self.groups,
        }
        text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
        buffer = io.BytesIO()
        members: dict[str, Any] = {_HEADER: text, **dict(sorted(self.arrays.items()))}
        np.savez(buffer, **members)  # NumPy 1.26 would take `allow_pickle` for one of them
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> UnknownScore:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: If it is something else, or damaged.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as members:
                if sum(member.file_size for member in members.infolist()) > len(data):
                    raise BundleError("The unknown score would grow when it is read: refused.")
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop(_HEADER).tobytes())
            version = header.pop("version")
            threshold = header.pop("threshold")
            numbers = {str(k): float(v) for k, v in header.pop("numbers").items()}
            if version != _VERSION:
                raise BundleError(
                    f"The unknown score has schema {version}; this version reads {_VERSION}."
                )
            return UnknownScore(
                arrays=arrays,
                numbers=numbers,
                threshold=np.inf if threshold is None else float(threshold),
                **header,
            )
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OSError,
            EOFError,
            RuntimeError,
            zipfile.BadZipFile,
        ) as error:
            raise BundleError(f"The unknown score cannot be read: {error!r}.") from error


def l2_normalized(features: np.ndarray) -> np.ndarray:
    """Each row divided by its length, (N, F); rows of zeros stay."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def _max_probability(probs: np.ndarray, numbers: Mapping[str, float]) -> np.ndarray:
    return -probs.max(axis=1)


def _gen(probs: np.ndarray, numbers: Mapping[str, float]) -> np.ndarray:
    """Generalized entropy of the largest probabilities (Liu et al., CVPR 2023)."""
    largest = np.sort(probs, axis=1)[:, ::-1][:, : int(numbers["classes"])]
    held = np.clip(largest, _GEN_EDGE, 1 - _GEN_EDGE)
    return ((held * (1 - held)) ** numbers["gamma"]).sum(axis=1)


def _energy(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """Free energy of the logits (Liu et al., NeurIPS 2020)."""
    logits = _logits(features, arrays)
    top = logits.max(axis=1)
    return -(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def _nci(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """Nearness to the weight of the predicted class, and to the origin (Liu & Qin, CVPR 2025)."""
    predicted = _logits(features, arrays).argmax(axis=1)
    away = features - arrays["mean"]
    along = np.einsum("nf,nf->n", away, arrays["weight"][predicted])
    nearness = along / np.maximum(np.linalg.norm(away, axis=1), SMALLEST)
    return -nearness - numbers["alpha"] * np.abs(features).sum(axis=1)


def _fdbd(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """Mean distance to the decision boundaries, by that to the mean (Liu & Qin, ICML 2024)."""
    logits = _logits(features, arrays)
    predicted = logits.argmax(axis=1)
    behind = logits.max(axis=1, keepdims=True) - logits
    distances = behind / np.maximum(arrays["apart"][predicted], SMALLEST)
    away = np.maximum(np.linalg.norm(features - arrays["mean"], axis=1), SMALLEST)
    return -distances.sum(axis=1) / (logits.shape[1] - 1) / away


def _mahalanobis(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """Squared distance to the nearest class mean, features normalized (Müller & Hein 2025)."""
    away = l2_normalized(features) - arrays["center"]
    return _squared_distances(away, arrays["means"], numbers["scale"], arrays["directions"]).min(
        axis=1
    )


def _relative_mahalanobis(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """As `_mahalanobis`, less the distance to all photos as one class (Ren et al. 2021)."""
    away = l2_normalized(features) - arrays["center"]
    middle = np.zeros((1, away.shape[1]))
    overall = _squared_distances(
        away, middle, numbers["overall_scale"], arrays["overall_directions"]
    )
    return _mahalanobis(features, arrays, numbers) - overall[:, 0]


def _knn(
    features: np.ndarray, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]
) -> np.ndarray:
    """Cosine distance to the k-th nearest training photo (Sun et al., ICML 2022)."""
    near = l2_normalized(features) @ arrays["bank"].T
    k = int(numbers["k"])
    return 1 - np.partition(near, -k, axis=1)[:, -k]


_OF_PROBS: Mapping[str, Callable[[np.ndarray, Mapping[str, float]], np.ndarray]] = {
    "max_probability": _max_probability,
    "gen": _gen,
}

_OF_FEATURES: Mapping[
    str, Callable[[np.ndarray, Mapping[str, np.ndarray], Mapping[str, float]], np.ndarray]
] = {
    "energy": _energy,
    "nci": _nci,
    "fdbd": _fdbd,
    "mahalanobis": _mahalanobis,
    "relative_mahalanobis": _relative_mahalanobis,
    "knn": _knn,
}

_HEAD = {"weight": "KF", "bias": "K"}
_GAUSSIAN = {"center": "F", "means": "CF", "directions": "FR"}

_ARRAYS: Mapping[str, Mapping[str, str]] = {
    "max_probability": {},
    "gen": {},
    "energy": _HEAD,
    "nci": {**_HEAD, "mean": "F"},
    "fdbd": {**_HEAD, "mean": "F", "apart": "KK"},
    "mahalanobis": _GAUSSIAN,
    "relative_mahalanobis": {**_GAUSSIAN, "overall_directions": "FQ"},
    "knn": {"bank": "MF"},
}
"""Names and shapes: features F, classes K of the head, classes C that were seen, directions R and Q
that covariances are kept in, photos M in the bank."""

_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "gen": ("classes", "gamma"),
    "nci": ("alpha",),
    "mahalanobis": ("scale",),
    "relative_mahalanobis": ("overall_scale", "scale"),
    "knn": ("k",),
}


def _logits(features: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return features @ arrays["weight"].T + arrays["bias"]


def _squared_distances(
    away: np.ndarray, means: np.ndarray, scale: float, directions: np.ndarray
) -> np.ndarray:
    """Squared Mahalanobis distances (N, C) with the precision scale · I - directions · directionsᵀ.

    Args:
        away: (N, F), from the center.
        means: (C, F), from the center.
        scale: Precision in all directions that were not kept.
        directions: (F, R).
    """
    return scale * _squared(away, means) - _squared(away @ directions, means @ directions)


def _squared(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of rows, (N, C)."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    return np.maximum(squares - 2 * left @ right.T, 0.0)


def _faults(score: UnknownScore) -> list[str]:
    if score.method not in METHODS:
        return [f"method {score.method!r} is not one of {', '.join(METHODS)}"]
    faults = []
    expected, given = _ARRAYS[score.method], score.arrays
    if set(expected) != set(given):
        return [f"{score.method} takes arrays {sorted(expected)}, not {sorted(given)}"]
    needed = set(_NUMBERS.get(score.method, ()))
    if needed != set(score.numbers):
        return [f"{score.method} takes numbers {sorted(needed)}, not {sorted(score.numbers)}"]
    sides: dict[str, int] = {}
    for name, letters in expected.items():
        values: Any = given[name]
        if values.dtype != np.float32 or values.ndim != len(letters):
            faults.append(f"{name} is {values.dtype} {values.shape}, not float32 ({letters})")
            continue
        for letter, side in zip(letters, values.shape, strict=True):
            if sides.setdefault(letter, side) != side:
                faults.append(f"{name} is {values.shape} where {letter} is {sides[letter]}")
        if not np.isfinite(values).all():
            faults.append(f"{name} holds numbers that are not finite")
    if not all(np.isfinite(value) for value in score.numbers.values()):
        faults.append("its numbers are not finite")
    if score.method == "knn" and not 1 <= score.numbers["k"] <= sides.get("M", 0):
        faults.append(f"k is {score.numbers['k']:g} of {sides.get('M', 0)} photos")
    if score.method == "gen" and score.numbers["classes"] < 1:
        faults.append("gen takes at least one class")
    if np.isnan(score.threshold):
        faults.append("the threshold is NaN")
    return faults
