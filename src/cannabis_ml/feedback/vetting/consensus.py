"""The class that a crowd agrees on, and how reliable each of its people is.

Every person is a mixture of archetypes (confusion matrices), and how common these are is learnt
from the crowd, so that the first answers of a new person are judged by what people are like here.
Messages between tasks and people are those of belief propagation (Liu, Peng & Ihler 2012,
"Variational inference for crowdsourcing"): the message of a person's answer never rests on
that same answer. As a person's answers grow in number their own confusion matrix takes over, which
is Dawid & Skene (1979) with smoothing, counted without the answer at hand as in CVB0 (Asuncion et
al. 2009). The model takes part as one more annotator, as in CROWDLAB (Goh, Tkachenko & Mueller
2022): its calibrated probabilities, to a power that the crowd decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cannabis_ml.feedback.vetting.archetypes import Archetypes
from cannabis_ml.feedback.vetting.crowd import Sums, Votes
from cannabis_ml.feedback.vetting.params import ConsensusParams
from cannabis_ml.taxonomy import MISSING

POWERS = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
"""To one of which the model's probabilities are raised: 1 trusts its calibration, 0 ignores it."""

_POWER_SHARES = np.array([0.05, 0.05, 0.1, 0.15, 0.25, 0.4])

_SMALLEST = 1e-12


@dataclass(frozen=True)
class Prior:
    """What is known of tasks before any vote.

    Attributes:
        model: float64 (T, K), calibrated probabilities; NaN rows where no model answered.
        known: int64 (T,), labels of gold tasks; `MISSING` elsewhere.
        question: int64 (T,): tasks of one number, such as those of one attribute, share how
            frequent their classes are.
    """

    model: np.ndarray
    known: np.ndarray
    question: np.ndarray

    @classmethod
    def empty(cls, tasks: int, classes: int) -> Prior:
        """Neither a model nor a gold label."""
        zeros = np.zeros(tasks, np.int64)
        return cls(np.full((tasks, classes), np.nan), zeros + MISSING, zeros)


@dataclass(frozen=True)
class Consensus:
    """What a crowd agrees on.

    Attributes:
        probs: float64 (T, K): probability of each class of each task.
        others: float64 (V, K): the same without the vote's own person.
        types: float64 (J, G): which archetype each person is.
        informed: float64 (V,), in [0, 1]: how much others know of the vote's task; 0 where there
            is neither another vote nor a model nor a gold label.
        model_power: To which the model's probabilities were raised, on average.
        iterations: Until nothing changed by more than the tolerance.
        converged: Whether that came to pass.
    """

    probs: np.ndarray
    others: np.ndarray
    types: np.ndarray
    informed: np.ndarray
    model_power: float
    iterations: int
    converged: bool


def find_consensus(
    votes: Votes, archetypes: Archetypes, prior: Prior, params: ConsensusParams
) -> Consensus:
    """Infer the class of every task and the reliability of every person.

    Args:
        votes: At least one task.
        archetypes: For as many classes.
        prior: Of the same tasks.
        params: Which method, and its numbers.

    Returns:
        The same for every order of the votes.
    """
    inference = _Inference(votes, archetypes, prior, params)
    return inference.run()


class _Inference:
    """State of the messages."""

    def __init__(
        self, votes: Votes, archetypes: Archetypes, prior: Prior, params: ConsensusParams
    ) -> None:
        self.votes, self.prior, self.params = votes, prior, params
        self.matrices, self.shares = archetypes.matrices, archetypes.shares
        self.typical = archetypes.shares
        self.by_task = Sums(votes.task, votes.tasks)
        self.by_person = Sums(votes.person, votes.people)
        self.answered = np.isfinite(prior.model).all(axis=1) & params.model
        # Who alone answers must neither shape what is usual nor be judged by it.
        others = np.bincount(votes.task, minlength=votes.tasks) > 1
        self.backed = others | self.answered | (prior.known != MISSING)
        self.rows = [np.flatnonzero(votes.label == k) for k in range(votes.classes)]
        self.model_logs = np.log(np.clip(prior.model[self.answered], 1e-4, 1))
        self.powers = _POWER_SHARES
        self.questions = int(prior.question.max(initial=0)) + 1
        self.class_shares = np.full((self.questions, votes.classes), 1 / votes.classes)
        everyone = np.tile(self.shares, (len(votes), 1))
        self.messages = self._messages(everyone, None)

    def run(self) -> Consensus:
        votes, learns = self.votes, self.params.method != "majority"
        probs, iteration, change = self._probs(), 0, np.inf
        types = np.tile(self.shares, (votes.people, 1))
        while iteration < self.params.iterations and change > self.params.tolerance:
            iteration += 1
            evidence = self._evidence()
            types_logs = np.log(self.shares) + self.by_person.of(evidence)
            types = _softmax(types_logs)
            if learns:
                strength = self.params.typical_people
                self.shares = types.sum(axis=0) + strength * self.typical
                self.shares /= self.shares.sum()
                others = _softmax(types_logs[votes.person] - evidence)
                counts = probs if self.params.method == "dawid_skene" else None
                # Half the step: messages of loopy graphs may swing.
                self.messages = (self.messages + self._messages(others, counts)) / 2
            self._learn_prior()
            new = self._probs()
            change, probs = float(np.abs(new - probs).max(initial=0)), new
        others = self._others()
        return Consensus(
            probs=probs,
            others=others,
            types=types,
            informed=self._informed(others),
            model_power=float(self.powers @ POWERS),
            iterations=iteration,
            converged=change <= self.params.tolerance,
        )

    def _messages(self, types: np.ndarray, probs: np.ndarray | None) -> np.ndarray:
        """Message of each vote to its task: log-likelihoods (V, K), 0 for the likeliest."""
        votes = self.votes
        likelihoods = np.empty((len(votes), votes.classes))
        for label, rows in enumerate(self.rows):
            likelihoods[rows] = types[rows] @ self.matrices[:, :, label]
        if probs is not None:
            likelihoods = self._own_matrix(likelihoods, types, probs)
        logs = np.log(np.maximum(likelihoods, _SMALLEST))
        logs -= logs.max(axis=1, keepdims=True)
        return np.maximum(logs, -np.log(self.params.largest_odds)) * votes.weight[:, None]

    def _own_matrix(
        self, likelihoods: np.ndarray, types: np.ndarray, probs: np.ndarray
    ) -> np.ndarray:
        """Draw likelihoods by archetype towards the person's answers elsewhere.

        An answer counts as far as others know its task: who is alone everywhere agrees with
        themselves and would seem perfect.
        """
        votes, strength = self.votes, self.params.smoothing
        seen = probs[votes.task] * self._informed(self._others())[:, None]
        cell = votes.person * votes.classes + votes.label
        by_cell = Sums(cell, votes.people * votes.classes).of(seen)
        by_row = self.by_person.of(seen)
        same, row = by_cell[cell] - seen, by_row[votes.person] - seen
        return (strength * likelihoods + same) / (strength + row)

    def _evidence(self) -> np.ndarray:
        """How well each archetype explains each vote: log-likelihoods (V, G)."""
        others = self._others()
        likelihoods = np.empty((len(others), len(self.matrices)))
        for label, rows in enumerate(self.rows):
            likelihoods[rows] = others[rows] @ self.matrices[:, :, label].T
        return np.log(np.maximum(likelihoods, _SMALLEST)) * self.backed[self.votes.task][:, None]

    def _logs(self) -> np.ndarray:
        return self._prior_logs() + self.by_task.of(self.messages)

    def _probs(self) -> np.ndarray:
        return _softmax(self._logs())

    def _others(self) -> np.ndarray:
        return _softmax(self._logs()[self.votes.task] - self.messages)

    def _informed(self, others: np.ndarray) -> np.ndarray:
        """How far others know the task of a vote: 0 if nobody does, 1 if they are certain."""
        k = self.votes.classes
        known = (others.max(axis=1) - 1 / k) / (1 - 1 / k)
        return known * self.backed[self.votes.task]

    def _prior_logs(self) -> np.ndarray:
        logs = np.log(self.class_shares)[self.prior.question]
        if len(self.model_logs):
            # The model's probabilities hold the frequencies of classes already.
            voices = _softmax(self.model_logs[:, None] * POWERS[:, None])
            logs[self.answered] = np.log(np.einsum("tpk,p->tk", voices, self.powers))
        gold = np.flatnonzero(self.prior.known != MISSING)
        logs[gold] = np.log(_SMALLEST)
        logs[gold, self.prior.known[gold]] = 0
        return logs

    def _learn_prior(self) -> None:
        """How frequent classes are, and how reliable the model is."""
        messages = self.by_task.of(self.messages)
        probs = _softmax(self._prior_logs() + messages)
        sums = np.zeros_like(self.class_shares)
        for k in range(self.votes.classes):
            backed = probs[:, k] * self.backed
            sums[:, k] = np.bincount(self.prior.question, backed, self.questions)
        self.class_shares = sums + 1
        self.class_shares /= self.class_shares.sum(axis=1, keepdims=True)
        if not len(self.model_logs):
            return
        likelihoods = np.exp(messages[self.answered])
        voices = _softmax(self.model_logs[:, None] * POWERS[:, None])
        fits = np.log(np.einsum("tpk,tk->tp", voices, likelihoods)).sum(axis=0)
        self.powers = _softmax((np.log(_POWER_SHARES) + fits)[None])[0]


def _softmax(logs: np.ndarray) -> np.ndarray:
    probs = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return probs / probs.sum(axis=-1, keepdims=True)
