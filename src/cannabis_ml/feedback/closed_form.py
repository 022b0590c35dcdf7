"""Heads in closed form on embeddings of a frozen backbone: ridge regression over the Gram matrix.

A class, a photo or a person is added by adding to sums, and removed by subtracting from them: the
result is that of a fit to the photos that are left, whatever came in which order. RanPAC (McDonnell
et al., NeurIPS 2023) is the same after a random projection with a ReLU (`RandomProjection`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cannabis_ml.errors import TrainingError

RIDGES = tuple(10.0**power for power in range(-4, 3))
"""Penalties to choose from, relative to the mean variance of an input."""


@dataclass(frozen=True)
class RandomProjection:
    """ReLU of a fixed random projection, which no photo influences.

    Attributes:
        features: F of the embeddings.
        width: M of the result.
        seed: Of the weights.
    """

    features: int
    width: int
    seed: int = 0

    @cached_property
    def weights(self) -> np.ndarray:
        """float32 (F, M), normal with variance 1 / F."""
        drawn = np.random.default_rng(self.seed).standard_normal((self.features, self.width))
        return (drawn / np.sqrt(self.features)).astype(np.float32)

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, F) -> float64 (N, M), none below 0."""
        return np.maximum(np.asarray(embeddings, np.float64) @ self.weights.astype(np.float64), 0)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Scores of classes: inputs @ weights + bias.

    Attributes:
        classes: Names, K.
        weights: float64 (D, K).
        bias: float64 (K,).
    """

    classes: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """(N, D) -> float64 (N, K)."""
        return np.asarray(inputs, np.float64) @ self.weights + self.bias

    def scaled(self, factor: float) -> LinearHead:
        """With all scores times a factor, so that their softmax is as sure as it should be."""
        return replace(self, weights=self.weights * factor, bias=self.bias * factor)


@dataclass(frozen=True, eq=False)
class RidgeSums:
    """Everything that ridge regression on one-hot labels needs of the photos: sums.

    Attributes:
        gram: Sum of outer products of inputs, float64 (D, D).
        sums: Per class the sum of its inputs, float64 (D,).
        counts: Per class its photos, or the sum of their weights.
    """

    gram: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, float]

    @classmethod
    def empty(cls, width: int) -> RidgeSums:
        """Of no photo, for inputs of this width."""
        return cls(np.zeros((width, width)), {}, {})

    @property
    def total(self) -> float:
        """Number of all photos, or the sum of their weights."""
        return float(sum(self.counts.values()))

    def added(
        self, inputs: np.ndarray, labels: Sequence[str], weights: np.ndarray | None = None
    ) -> RidgeSums:
        """With photos of old or new classes.

        Args:
            inputs: (N, D).
            labels: Class of each.
            weights: Of each, (N,); None: all 1.
        """
        return self._changed(inputs, labels, np.ones(len(labels)) if weights is None else weights)

    def removed(self, inputs: np.ndarray, labels: Sequence[str]) -> RidgeSums:
        """Without photos that were added before; a class without photos is gone.

        Args:
            inputs: (N, D), the very ones that were added.
            labels: Class of each.

        Raises:
            TrainingError: If there are not as many photos of a class.
        """
        return self._changed(inputs, labels, -np.ones(len(labels)))

    def _changed(self, inputs: np.ndarray, labels: Sequence[str], weights: np.ndarray) -> RidgeSums:
        inputs, names = np.asarray(inputs, np.float64), np.asarray(labels, object)
        sums, counts = dict(self.sums), dict(self.counts)
        for name in dict.fromkeys(labels):
            rows = names == name
            counts[name] = counts.get(name, 0) + float(weights[rows].sum())
            of_class = weights[rows] @ inputs[rows]
            sums[name] = sums.get(name, np.zeros(len(self.gram))) + of_class
            if counts[name] < 0:
                raise TrainingError(
                    f"{int(rows.sum()):,} photos of '{name}' cannot be removed from a closed-form"
                    f" head that has {self.counts.get(name, 0):,.0f}: they were not added to it."
                )
            if not counts[name]:
                del counts[name], sums[name]
        return RidgeSums(self.gram + (inputs.T * weights) @ inputs, sums, counts)

    def solve(self, ridge: float, classes: Sequence[str] | None = None) -> LinearHead:
        """Ridge regression of one-hot labels on inputs, the bias without penalty.

        Args:
            ridge: Penalty over the mean variance of an input, above 0.
            classes: Order of the classes; None sorts them. What a class gets does not depend on
                it, and a class without photos is never the best.

        Raises:
            TrainingError: If there is no photo.
        """
        from scipy.linalg import cho_factor, cho_solve

        if not self.total:
            raise TrainingError("A closed-form head needs photos: none has a label of this head.")
        names = tuple(sorted(self.counts) if classes is None else classes)
        count = self.total
        mean = np.sum(list(self.sums.values()), axis=0) / count
        centered = self.gram - count * np.outer(mean, mean)
        scale = float(np.trace(centered)) / len(mean) or 1.0
        factor = cho_factor(centered + ridge * scale * np.eye(len(mean)), lower=True)
        nothing = np.zeros(len(mean))
        counts = np.array([self.counts.get(name, 0) for name in names], float)
        targets = np.stack([self.sums.get(name, nothing) for name in names], axis=1)
        weights = cho_solve(factor, targets - np.outer(mean, counts))
        return LinearHead(names, weights, counts / count - mean @ weights)


@dataclass(frozen=True, eq=False)
class EmbeddedPhotos:
    """Embeddings of labelled photos.

    Attributes:
        photo_ids: N, each once.
        embeddings: float32 (N, F).
        labels: Class of each.
    """

    photo_ids: tuple[str, ...]
    embeddings: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.photo_ids)

    def at(self, rows: np.ndarray) -> EmbeddedPhotos:
        """Some of them."""
        return EmbeddedPhotos(
            tuple(self.photo_ids[row] for row in rows),
            self.embeddings[rows],
            tuple(self.labels[row] for row in rows),
        )

    def joined(self, other: EmbeddedPhotos) -> EmbeddedPhotos:
        """These and others."""
        return EmbeddedPhotos(
            self.photo_ids + other.photo_ids,
            np.concatenate([self.embeddings, other.embeddings]),
            self.labels + other.labels,
        )


@dataclass(frozen=True, eq=False)
class ClosedFormHead:
    """A head with the photos that it is made from, so that any of them can be taken out again.

    Attributes:
        photos: Those it is made from.
        sums: Of their inputs.
        projection: Between embeddings and inputs; None: inputs are the embeddings.
    """

    photos: EmbeddedPhotos
    sums: RidgeSums
    projection: RandomProjection | None = None

    @classmethod
    def of(
        cls, photos: EmbeddedPhotos, projection: RandomProjection | None = None
    ) -> ClosedFormHead:
        """A head of these photos."""
        width = photos.embeddings.shape[1] if projection is None else projection.width
        nothing = photos.at(np.arange(0))
        return cls(nothing, RidgeSums.empty(width), projection).with_photos(photos)

    def inputs(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, F) -> float64 (N, D)."""
        if self.projection is None:
            return np.asarray(embeddings, np.float64)
        return self.projection.apply(embeddings)

    def with_photos(self, photos: EmbeddedPhotos) -> ClosedFormHead:
        """With more photos, of old or new classes.

        Raises:
            TrainingError: If a photo is in it already: it would count twice.
        """
        known = set(self.photos.photo_ids)
        twice = [name for name in photos.photo_ids if name in known]
        if twice or len(set(photos.photo_ids)) < len(photos):
            raise TrainingError(
                f"{len(twice) or 'Some':,} photos are in the closed-form head already, such as"
                f" {(twice or list(photos.photo_ids))[0][:12]}: remove them first, or add new ones."
            )
        sums = self.sums.added(self.inputs(photos.embeddings), photos.labels)
        return replace(self, photos=self.photos.joined(photos), sums=sums)

    def without(self, photo_ids: Collection[str]) -> ClosedFormHead:
        """Without these photos, as if they had never been there; others are ignored."""
        gone = np.isin(np.array(self.photos.photo_ids, object), list(photo_ids))
        if not gone.any():
            return self
        removed, kept = self.photos.at(np.flatnonzero(gone)), self.photos.at(np.flatnonzero(~gone))
        sums = self.sums.removed(self.inputs(removed.embeddings), removed.labels)
        return replace(self, photos=kept, sums=sums)

    def fitted(
        self, held_out: EmbeddedPhotos, classes: Sequence[str], ridges: Sequence[float] = RIDGES
    ) -> tuple[LinearHead, float, float]:
        """Solve, with penalty and scale by the log loss on photos that are not in it.

        Args:
            held_out: Validation photos; those of classes without a photo here are left out.
            classes: Order of the classes.
            ridges: Penalties to choose from.

        Returns:
            The head, scaled so that the softmax of its scores is a probability; the penalty; and
            the scale.
        """
        known = np.flatnonzero(np.isin(np.array(held_out.labels, object), list(self.sums.counts)))
        if not len(known):
            raise TrainingError(
                "A closed-form head needs validation photos to choose its penalty by: none of"
                f" {len(held_out):,} has a class that the head has photos of."
            )
        seen = held_out.at(known)
        inputs = self.inputs(seen.embeddings)
        places = {name: place for place, name in enumerate(classes)}
        truth = np.array([places[label] for label in seen.labels])
        best: tuple[float, LinearHead, float, float] | None = None
        for ridge in ridges:
            head = self.sums.solve(ridge, classes)
            loss, factor = best_scale(head.scores(inputs), truth)
            if best is None or loss < best[0]:
                best = loss, head.scaled(factor), ridge, factor
        assert best is not None
        return best[1:]

    def members(self, ridge: float, classes: Sequence[str], count: int) -> list[LinearHead]:
        """Heads whose disagreement is the uncertainty: a Bayesian bootstrap (Rubin 1981).

        Each weighs every photo by an exponential weight that follows from the photo's id, so that
        what is taken out leaves no trace here either.

        Args:
            ridge: As for `RidgeSums.solve`.
            classes: As for `RidgeSums.solve`.
            count: How many; a single one weighs all photos alike.
        """
        if count == 1:
            return [self.sums.solve(ridge, classes)]
        inputs, labels = self.inputs(self.photos.embeddings), self.photos.labels
        nothing = RidgeSums.empty(inputs.shape[1])
        return [
            nothing.added(inputs, labels, _weights(self.photos.photo_ids, member)).solve(
                ridge, classes
            )
            for member in range(count)
        ]


def _weights(photo_ids: Sequence[str], member: int) -> np.ndarray:
    """Exponential weights with a mean of 1, float64 (N,)."""
    digests = [hashlib.sha256(f"{member} {name}".encode()).digest()[:8] for name in photo_ids]
    uniform = (np.frombuffer(b"".join(digests), ">u8").astype(np.float64) + 0.5) / 2**64
    return -np.log(uniform)


def best_scale(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Lowest mean log loss of a softmax of scores times a factor, and the factor."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    right = scores[np.arange(len(truth)), truth]

    def loss(log_factor: float) -> float:
        factor = np.exp(log_factor)
        return float(np.mean(logsumexp(factor * scores, axis=1) - factor * right))

    solution = minimize_scalar(loss, bounds=(-2, 7), method="bounded")
    return float(solution.fun), float(np.exp(solution.x))
