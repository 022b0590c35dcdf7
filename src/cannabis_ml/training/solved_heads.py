"""Heads solved on the features of a frozen backbone, in place of training them step by step.

`lbfgs` is penalized logistic regression: the loss of training plus half the penalty times the sum
of squared weights, on scaled features, minimized to its only minimum by L-BFGS. `ridge` is
ridge regression of one-hot labels, as adding a class solves it. Either chooses the penalty of each
head by the loss on the validation photos, and fits the members of a head on the weights of a
Bayesian bootstrap, so that their disagreement is what few photos leave open.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import RIDGES, LinearHead, RidgeSums, best_scale
from cannabis_ml.networks.network import HierarchicalNet, OrdinalHead
from cannabis_ml.networks.params import LossParams
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy
from cannabis_ml.training.data import RowTargets
from cannabis_ml.training.losses import head_weights, summed_loss
from cannabis_ml.training.module import count_right, decide
from cannabis_ml.training.schedule import Phase, Solver

logger = logging.getLogger(__name__)

PENALTIES = tuple(10.0 ** (power / 2) for power in range(2, -9, -1))
"""Of `lbfgs`, to choose from, strongest first: 1 / (C × photos) of scikit-learn's C."""

ITERATIONS = 300
"""Of L-BFGS, at most, per penalty."""

ROUGH, FINE = 1e-4, 2e-6
"""Largest gradient at which L-BFGS ends: while penalties are compared, and for what is kept."""

WORSE = 2
"""Weaker penalties in a row without a better validation loss, after which none is tried."""


@dataclass(frozen=True, eq=False)
class LabeledFeatures:
    """Features of photos, with what is known of them.

    Attributes:
        values: float32 (N, F).
        targets: Labels and weights of the same rows.
    """

    values: np.ndarray
    targets: RowTargets

    @property
    def labels(self) -> dict[str, Tensor]:
        """Per head, as from `Taxonomy.encode`."""
        return {name: torch.from_numpy(values) for name, values in self.targets.labels.items()}


@dataclass(frozen=True, eq=False)
class Problem:
    """What heads are solved for.

    Attributes:
        train: What they learn from.
        held_out: What chooses their penalties.
        balance: Weight of each row of `train`, (N,), as balancing chose it; None: all 1.
        loss: The form of the losses.
        class_weights: Per head (K,); None: all 1.
        penalties: Of `lbfgs`, to choose from, strongest first.
    """

    train: LabeledFeatures
    held_out: LabeledFeatures
    balance: np.ndarray | None = None
    loss: LossParams = field(default_factory=LossParams)
    class_weights: Mapping[str, Tensor] | None = None
    penalties: Sequence[float] = PENALTIES

    @property
    def weights(self) -> np.ndarray:
        """Of each row of `train` in the loss, float64 (N,)."""
        count = len(self.train.values)
        return np.ones(count) if self.balance is None else np.asarray(self.balance, np.float64)


def solve_heads(network: HierarchicalNet, problem: Problem, solver: Solver) -> dict[str, float]:
    """Solve every head that has labels; the others keep their weights.

    Args:
        network: Its heads are changed in place; they must be linear.
        problem: Features of its frozen backbone.
        solver: lbfgs or ridge.

    Returns:
        The penalty of every head that was solved.

    Raises:
        TrainingError: If heads have a hidden layer, a head with labels has none in `held_out`, or
            `ridge` is to solve heads that are not multiclass.
    """
    taxonomy = network.taxonomy
    widths = [network.hidden] if isinstance(network.hidden, int) else network.hidden.values()
    if any(widths):
        raise TrainingError(
            "Heads with a hidden layer have no single solution: set model.hidden: 0, or train them"
            " (solver: adamw)."
        )
    odd = [f"'{head.name}' ({head.kind})" for head in taxonomy.heads if head.kind != "multiclass"]
    if solver == "ridge" and odd:
        raise TrainingError(
            f"Ridge regression solves multiclass heads, and {', '.join(odd)} is none: set"
            " solver: lbfgs."
        )
    scale = Scaling.of(problem.train.values, problem.weights)
    penalties = {}
    for head, members in zip(taxonomy.heads, network.heads, strict=True):
        if not _labeled(head, problem.train).any():
            continue
        judged = int(_labeled(head, problem.held_out).sum())
        if not judged:
            raise TrainingError(
                f"No validation photo has a label of '{head.name}' to choose its penalty by: label"
                " some, or train in epochs (solver: adamw)."
            )
        if solver == "ridge":
            penalties[head.name] = _ridge(head, cast(nn.ModuleList, members), problem)
        else:
            one = _LogisticHead(head, taxonomy, problem, scale)
            penalties[head.name] = one.solve(cast(nn.ModuleList, members))
        logger.info(
            "Solved '%s' (%s): penalty %g, chosen on %d validation photos.",
            head.name,
            solver,
            penalties[head.name],
            judged,
        )
    return penalties


def solved_epoch(network: HierarchicalNet, problem: Problem, phase: Phase) -> dict[str, Any]:
    """Solve the heads; what came of it, as a row of training's history.

    Args:
        network: As for `solve_heads`.
        problem: As for `solve_heads`.
        phase: Names the solver.

    Returns:
        epoch (0), phase, train_loss, validation_loss, `validation_{head}_loss` and
        `validation_{head}_accuracy` of heads with labels, learning_rate (0: the backbone is
        frozen) and seconds.

    Raises:
        TrainingError: As `solve_heads`.
    """
    started = time.perf_counter()
    solve_heads(network, problem, phase.solver)
    plain = problem.loss.model_copy(update={"label_smoothing": 0.0})
    row: dict[str, Any] = {"epoch": 0, "phase": phase.name}
    weights = head_weights(network.taxonomy, problem.loss.weights)
    measured: dict[str, float] = {}
    for name, part in (("train", problem.train), ("validation", problem.held_out)):
        with torch.no_grad():
            logits = network.eval().classify(torch.from_numpy(np.asarray(part.values)))
        right = decide(logits, network.taxonomy)
        row[f"{name}_loss"] = 0.0
        for head in network.taxonomy.heads:
            total, known = summed_loss(
                head, logits[head.name], part.labels, network.taxonomy, plain
            )
            loss = float(total / known.clamp(min=1))
            row[f"{name}_loss"] += weights[head.name] * loss
            if name == "validation" and int(known):
                right_ones, judged = count_right(right[head.name], part.labels[head.name])
                measured[f"validation_{head.name}_loss"] = loss
                measured[f"validation_{head.name}_accuracy"] = float(right_ones / judged)
    return {**row, **measured, "learning_rate": 0.0, "seconds": time.perf_counter() - started}


@dataclass(frozen=True, eq=False)
class Scaling:
    """Features less their mean, over one scale: the root mean square of their standard deviations.

    One for all of them: were each divided by its own deviation, one that is 0 on nearly all photos
    would weigh as much as any, and the first photo on which it is not would get any answer.

    Attributes:
        mean: float64 (F,).
        scale: 1 where no feature ever changes.
    """

    mean: np.ndarray
    scale: float

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray) -> Scaling:
        """That of some features (N, F), each row as often as its weight."""
        mean = np.average(values, axis=0, weights=weights).astype(np.float64)
        variances = np.average((values - mean) ** 2, axis=0, weights=weights)
        return cls(mean, float(np.sqrt(variances.mean())) or 1.0)

    def apply(self, values: np.ndarray) -> Tensor:
        """(N, F) -> float64 (N, F)."""
        return torch.from_numpy((values - self.mean) / self.scale)

    def undo(self, member: nn.Module) -> None:
        """Let a member that was solved on scaled features take them as they are.

        Args:
            member: As `HierarchicalNet` makes it; changed in place, float64.
        """
        last = list(member.children())[-1]
        layer, bias = (
            (last.weight, last.first) if isinstance(last, OrdinalHead) else (last, last.bias)
        )
        weights = cast(Tensor, layer.weight)
        with torch.no_grad():
            weights /= self.scale
            cast(Tensor, bias).sub_(weights @ torch.from_numpy(self.mean))


class _LogisticHead:
    """One head as penalized logistic regression.

    Args:
        head: Which.
        taxonomy: Gives its parent.
        problem: Features, labels, the loss.
        scale: Of the features.
    """

    def __init__(self, head: Head, taxonomy: Taxonomy, problem: Problem, scale: Scaling) -> None:
        self.head, self.taxonomy, self.problem, self.scale = head, taxonomy, problem, scale
        self.inputs = scale.apply(problem.train.values)
        self.held_out = scale.apply(problem.held_out.values)

    def solve(self, members: nn.ModuleList) -> float:
        """Fill the members; returns the penalty."""
        first = _blank(members[:1])
        alone = torch.from_numpy(self.problem.weights)[:, None]
        best: tuple[float, float, dict[str, Any]] | None = None
        worse = 0
        for penalty in self.problem.penalties:
            self.minimize(first, alone, penalty, ROUGH)
            loss = self.held_out_loss(first)
            if best is None or loss < best[0]:
                best, worse = (loss, penalty, copy.deepcopy(first[0].state_dict())), 0
            else:
                worse += 1
            if worse == WORSE:
                break
        assert best is not None
        _, penalty, state = best
        solved = _blank(members)
        for member in solved:
            member.load_state_dict(state)
        drawn = self.problem.train.targets.members.double()
        self.minimize(solved, drawn if len(solved) > 1 else alone, penalty, FINE / len(solved))
        for member, solution in zip(members, solved, strict=True):
            self.scale.undo(solution)
            member.load_state_dict(solution.state_dict())
        return penalty

    def minimize(
        self, members: nn.ModuleList, weights: Tensor, penalty: float, gradient: float
    ) -> None:
        """Move the members to the minimum of their penalized loss.

        Args:
            members: As `_blank` makes them, from wherever they are.
            weights: Of each photo for each member, (N, M).
            penalty: Of the mean loss of a photo.
            gradient: Largest at which it ends.
        """
        matrices = [weight for weight in members.parameters() if weight.ndim > 1]
        targets = self.problem.train.labels
        optimizer = torch.optim.LBFGS(
            members.parameters(),
            max_iter=ITERATIONS,
            tolerance_grad=gradient,
            tolerance_change=1e-12,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            total, known = summed_loss(
                self.head,
                _logits(members, self.inputs),
                targets,
                self.taxonomy,
                self.problem.loss,
                class_weights=self.problem.class_weights,
                member_weights=weights,
            )
            squares = torch.stack([weight.square().sum() for weight in matrices]).sum()
            loss = total / known.clamp(min=1) + penalty / 2 * squares / len(members)
            loss.backward()
            return loss

        optimizer.step(closure)

    @torch.no_grad()
    def held_out_loss(self, members: nn.ModuleList) -> float:
        """Mean loss of a label of the validation photos."""
        total, known = summed_loss(
            self.head,
            _logits(members, self.held_out),
            self.problem.held_out.labels,
            self.taxonomy,
            self.problem.loss.model_copy(update={"label_smoothing": 0.0}),
        )
        return float(total / known.clamp(min=1))


def _blank(members: nn.ModuleList) -> nn.ModuleList:
    """A copy in float64 without dropout, whose weights are 0."""
    blank = copy.deepcopy(members).double().eval().requires_grad_(True)
    with torch.no_grad():
        for weight in blank.parameters():
            if weight.ndim > 1:
                weight.zero_()
    return blank


def _logits(members: nn.ModuleList, inputs: Tensor) -> Tensor:
    """(N, M, C) in float64; `EnsembleHead` gives float32."""
    return torch.stack([member(inputs) for member in members], dim=1)


def _labeled(head: Head, features: LabeledFeatures) -> np.ndarray:
    """Whether photos have a label of a head, bool (N,)."""
    truth = features.targets.labels[head.name]
    return ~np.isnan(truth).all(axis=1) if truth.ndim == 2 else truth != MISSING


def _ridge(head: Head, members: nn.ModuleList, problem: Problem) -> float:
    """Solve the members of a multiclass head in closed form; returns the penalty."""
    names = head.class_names
    rows, held_out = _labeled(head, problem.train), _labeled(head, problem.held_out)
    truth = problem.train.targets.labels[head.name][rows]
    if problem.class_weights is not None:
        raise TrainingError("Ridge regression knows no class_weights: set solver: lbfgs.")
    inputs, labels = problem.train.values[rows], [names[k] for k in truth]

    def solved(weights: np.ndarray, penalty: float) -> LinearHead:
        sums = RidgeSums.empty(inputs.shape[1]).added(inputs, labels, weights[rows])
        return sums.solve(penalty, names)

    sums = RidgeSums.empty(inputs.shape[1]).added(inputs, labels, problem.weights[rows])
    seen = problem.held_out.values[held_out]
    judged = problem.held_out.targets.labels[head.name][held_out]
    _, penalty, factor = min(_tried(sums, names, seen, judged))
    weights = problem.train.targets.members.numpy().astype(np.float64)
    for number, member in enumerate(members):
        solution = solved(weights[:, number], penalty).scaled(factor)
        last = cast(nn.Linear, list(member.children())[-1])
        with torch.no_grad():
            last.weight.copy_(torch.from_numpy(solution.weights.T))
            last.bias.copy_(torch.from_numpy(solution.bias))
    return penalty


def _tried(
    sums: RidgeSums, names: Sequence[str], inputs: np.ndarray, truth: np.ndarray
) -> list[tuple[float, float, float]]:
    """Loss, penalty and scale of the scores, for every penalty."""
    tried = []
    for penalty in RIDGES:
        loss, factor = best_scale(sums.solve(penalty, names).scores(inputs), truth)
        tried.append((loss, penalty, factor))
    return tried
