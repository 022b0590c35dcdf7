"""What one model answers for photos, and its score against labels that may know other classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cannabis_ml.inference.decision import Decision
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

STRANGER = -2
"""Index of a class that the other side does not know."""


@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """Answers of one model for N photos.

    Attributes:
        taxonomy: The model's own.
        decided: Per head as from `Decision.decide`.
        probs: Per head its calibrated probabilities, float64 (N, K).
    """

    taxonomy: Taxonomy
    decided: Mapping[str, np.ndarray]
    probs: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, decision: Decision, outputs: Mapping[str, np.ndarray]) -> ModelAnswers:
        """Decide and calibrate as clients do.

        Args:
            decision: Of the model, with its calibrators.
            outputs: As for `Decision.decide`.
        """
        calibrated = decision.calibrated(outputs)
        probs = {
            head.name: np.asarray(calibrated[head.name], np.float64)
            for head in decision.taxonomy.heads
        }
        return cls(decision.taxonomy, decision.decide(outputs), probs)

    def __len__(self) -> int:
        return len(next(iter(self.probs.values())))

    def at(self, rows: np.ndarray) -> ModelAnswers:
        """Those of some photos."""
        return ModelAnswers(
            self.taxonomy,
            {name: values[rows] for name, values in self.decided.items()},
            {name: values[rows] for name, values in self.probs.items()},
        )

    def head(self, name: str) -> Head | None:
        """Its head of that name."""
        return next((head for head in self.taxonomy.heads if head.name == name), None)

    def confidence(self, name: str) -> np.ndarray:
        """Calibrated probability of what is answered: (N,), of a multilabel head (N, K).

        NaN where the predicted parent allows no class.
        """
        probs, decided = self.probs[name], self.decided[name]
        if decided.ndim == 2:
            return np.where(decided, probs, 1 - probs)
        given = decided != MISSING
        of_answer = probs[np.arange(len(probs)), np.where(given, decided, 0)]
        return np.where(given, of_answer, np.nan)

    def names(self, name: str) -> np.ndarray:
        """Answered classes as text, (N,); of a multilabel head the attributes, joined by commas."""
        head, decided = self.head(name), self.decided[name]
        assert head is not None
        classes = np.array([*head.class_names, ""], object)
        if decided.ndim == 1:
            return classes[np.where(decided == MISSING, len(classes) - 1, decided)]
        joined = [", ".join(classes[:-1][row]) for row in decided]
        return np.array(joined, object)


def same_classes(head: Head, other: Head) -> np.ndarray:
    """Of each class of a head its index in another head of the same name, int64 (K,).

    Returns:
        `STRANGER` where the other does not have it.
    """
    places = {name: index for index, name in enumerate(other.class_names)}
    return np.array([places.get(name, STRANGER) for name in head.class_names], np.int64)


def right_answers(answers: ModelAnswers, head: Head, truth: np.ndarray) -> np.ndarray:
    """Whether each answer agrees with its label.

    Args:
        answers: Of a model that has a head of this name.
        head: The head that the labels are of, with its own classes.
        truth: Labels as from `Taxonomy.encode` by that head.

    Returns:
        float, 1 or 0, NaN where there is no label: (N,); of a multilabel head (N, K), NaN for
        attributes that the model does not have.
    """
    own = answers.head(head.name)
    assert own is not None
    decided = answers.decided[head.name]
    if decided.ndim == 2:
        places = same_classes(head, own)
        agrees = np.full(truth.shape, np.nan)
        there = places != STRANGER
        known = truth[:, there]
        right = (decided[:, places[there]] == (known == 1)).astype(float)
        agrees[:, there] = np.where(np.isnan(known), np.nan, right)
        return agrees
    named = np.append(same_classes(own, head), STRANGER)
    mapped = named[np.where(decided == MISSING, len(named) - 1, decided)]
    return np.where(truth == MISSING, np.nan, (mapped == truth).astype(float))


def own_labels(answers: ModelAnswers, head: Head, truth: np.ndarray) -> np.ndarray:
    """Labels as the model's own head encodes them.

    Args:
        answers: As for `right_answers`.
        head: As for `right_answers`.
        truth: As for `right_answers`.

    Returns:
        As from `Taxonomy.encode`; unknown where the model does not have the class.
    """
    own = answers.head(head.name)
    assert own is not None
    if truth.ndim == 2:
        places = same_classes(own, head)
        labels = np.full((len(truth), len(places)), np.nan)
        labels[:, places != STRANGER] = truth[:, places[places != STRANGER]]
        return labels
    places = np.append(same_classes(head, own), MISSING)
    mapped = places[np.where(truth == MISSING, len(places) - 1, truth)]
    return np.where(mapped == STRANGER, MISSING, mapped)
