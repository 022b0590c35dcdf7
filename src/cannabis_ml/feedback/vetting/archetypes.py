"""Archetypes of annotators: confusion matrices that people are mixtures of.

What a person will answer is learnt from few answers by asking which archetype they resemble, and
how common each is in this crowd. Every archetype is a matrix (K, K): row the true class, column the
answer; rows sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACCURACIES = np.array([0.02, *np.arange(0.05, 1.0, 0.05), 0.98])
"""Of the one-coin archetypes."""

SPREADS = (0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5)
"""Standard deviations of what people of the ordinal archetypes see, in grades."""

SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""How much milder (negative) or stricter they are, in grades; best grade first."""

SLIPS = 0.02
"""Share of an ordinal person's answers that is drawn from all grades alike."""

TYPICAL = (6.0, 2.0)
"""Beta distribution of the accuracy of people nothing is known of: mean 0.75."""


@dataclass(frozen=True)
class Archetypes:
    """Confusion matrices and how common they are before any vote was seen.

    Attributes:
        matrices: float64 (G, K, K).
        shares: float64 (G,), sum to 1.
    """

    matrices: np.ndarray
    shares: np.ndarray

    def __post_init__(self) -> None:
        if not np.allclose(self.matrices.sum(axis=2), 1) or not np.isclose(self.shares.sum(), 1):
            raise ValueError("rows of archetypes, or their shares, do not sum to 1")

    @property
    def accuracies(self) -> np.ndarray:
        """How often each is right if all classes are alike frequent, float64 (G,)."""
        return np.trace(self.matrices, axis1=1, axis2=2) / self.matrices.shape[1]


def one_coin(classes: int) -> Archetypes:
    """People who are right with one probability, and else choose any other class alike.

    Args:
        classes: K, at least 2.
    """
    right = np.eye(classes)
    wrong = (1 - right) / (classes - 1)
    a = ACCURACIES[:, None, None]
    return Archetypes(a * right + (1 - a) * wrong, _typical_shares(ACCURACIES))


def ordered_probit(grades: int) -> Archetypes:
    """People who see a grade with a spread and a shift of their own, and those who reverse it.

    An ordered probit model with equidistant thresholds: what is seen is normal around the true
    grade plus the shift, and the answer is the nearest grade. So an A for an A+ is likely where an
    F is not. One archetype answers at random.

    Args:
        grades: K, at least 2.
    """
    from scipy.stats import norm

    spread, shift = (a.ravel() for a in np.meshgrid(SPREADS, SHIFTS, indexing="ij"))
    grade = np.arange(grades)
    bounds = np.concatenate([[-np.inf], grade[:-1] + 0.5, [np.inf]])
    seen = grade[None, :, None] + shift[:, None, None]
    below = norm.cdf((bounds - seen) / spread[:, None, None])
    matrices = np.diff(below, axis=2)
    contrary = matrices[shift == 0][:, ::-1]
    uniform = np.full((1, grades, grades), 1 / grades)
    matrices = np.concatenate([matrices, contrary, uniform])
    matrices = (1 - SLIPS) * matrices + SLIPS / grades
    # Known people are mild or strict by half a grade rather than a whole one.
    shares = _typical_shares(np.trace(matrices, axis1=1, axis2=2) / grades)
    return Archetypes(matrices, shares)


def with_none(known: Archetypes, slips: float = 0.02) -> Archetypes:
    """Archetypes for one class more, "none of these", which is on no scale.

    Args:
        known: Of the K classes that a head has.
        slips: How often a good person chooses none for a photo that has one of the classes.

    Returns:
        The same people for K + 1 classes. They see that none fits as often as they are right on
        average, and choose it by mistake as a share `slips` of their right answers, or as one
        class more among those that they choose wrongly.
    """
    groups, k, _ = known.matrices.shape
    accuracy = known.accuracies[:, None]
    mistaken = np.minimum(slips + (1 - accuracy) / k, 0.5)
    matrices = np.zeros((groups, k + 1, k + 1))
    matrices[:, :k, :k] = known.matrices * (1 - mistaken[:, :, None])
    matrices[:, :k, k] = mistaken
    matrices[:, k, :k] = (1 - accuracy) / k
    matrices[:, k, k] = accuracy[:, 0]
    return Archetypes(matrices, known.shares)


def typical_density(accuracies: np.ndarray) -> np.ndarray:
    """How usual accuracies are among people nothing is known of, up to a factor.

    The density of `TYPICAL`, and everywhere a floor of a twentieth of its peak: the contrary and
    spammers must be found from few answers.
    """
    from scipy.stats import beta

    density = beta.pdf(np.clip(accuracies, 0.005, 0.995), *TYPICAL)
    peak = (TYPICAL[0] - 1) / (sum(TYPICAL) - 2)
    return density + 0.05 * beta.pdf(peak, *TYPICAL)


def _typical_shares(accuracies: np.ndarray) -> np.ndarray:
    density = typical_density(accuracies)
    return density / density.sum()
