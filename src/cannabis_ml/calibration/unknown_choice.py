"""The unknown score of one tier: every candidate fitted, one chosen, a threshold, and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.calibration import unknown as fits
from cannabis_ml.calibration.unknown import LinearHead
from cannabis_ml.errors import CalibrationError
from cannabis_ml.evaluation.ranking import auroc
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.inference.unknown import METHODS, Method, UnknownScore
from cannabis_ml.taxonomy import Head


class UnknownParams(BaseModel):
    """How the unknown score is chosen, and where its threshold lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method | None = Field(
        default=None, description="null: chosen by AUROC on unknown photos, where there are any"
    )
    head: str | None = Field(
        default=None,
        description="Head whose classes and probabilities count; null: the first that is not"
        " multilabel",
    )
    kept: float = Field(
        default=fits.KEPT, gt=0, lt=1, description="Share of known photos not called unknown"
    )
    near: list[str] = Field(
        default=[],
        description="Kinds of unknown photos that resemble the known ones, such as classes left out"
        " of training; AUROC is the mean of theirs and that of the others",
    )
    photos: int = Field(default=200, ge=0, description="Unknown photos that are looked at, at most")
    seed: int = Field(default=0, ge=0)


class UnknownCandidate(Record):
    """How well one score separates unknown photos from known ones."""

    near: float | None = Field(default=None, description="AUROC against kinds called near")
    near_interval: Interval | None = None
    far: float | None = Field(default=None, description="AUROC against all other kinds")
    far_interval: Interval | None = None
    mean: float | None = None
    by_kind: dict[str, float] = Field(default={}, description="AUROC against each kind")
    bytes: int | None = None
    refused: str | None = Field(default=None, description="Why it took no part")


class UnknownReport(Record):
    """Which unknown score a tier has, and why."""

    method: Method
    because: str = Field(description="A sentence")
    head: str
    threshold: float | None = Field(description="None: too few known photos, nothing is unknown")
    kept: float
    training_photos: int = Field(description="That scores were fitted to")
    known_photos: int = Field(description="That the threshold rests on")
    known_groups: int
    unknown_photos: dict[str, int] = Field(description="By kind")
    candidates: dict[str, UnknownCandidate]


@dataclass(frozen=True, eq=False)
class KnownPhotos:
    """Outputs of one model file for photos of the known world.

    Attributes:
        train: For training photos, (N, …).
        labels: Class indices of these, int64 (N,).
        held_out: For photos that were not trained on, (M, …).
        groups: Of each of those a number or name, (M,).
    """

    train: Mapping[str, np.ndarray]
    labels: np.ndarray
    held_out: Mapping[str, np.ndarray]
    groups: np.ndarray


def linear_head(
    state: Mapping[str, np.ndarray], card: NetworkCard, head: Head
) -> LinearHead | None:
    """The layer that makes logits of the embedding: the mean of a head's members.

    Args:
        state: Tensors of the trained network, by name.
        card: Of the network.
        head: One of its heads.

    Returns:
        None where there is no such layer: with a hidden layer, or of an ordinal head.
    """
    if card.hidden or head.kind != "multiclass":
        return None
    place = [one.name for one in card.taxonomy.heads].index(head.name)
    members = [f"heads.{place}.{member}.1" for member in range(card.ensemble)]
    return LinearHead(
        np.mean([state[f"{name}.weight"] for name in members], axis=0),
        np.mean([state[f"{name}.bias"] for name in members], axis=0),
    )


def choose_unknown_score(
    head: Head,
    known: KnownPhotos,
    unknown: Mapping[str, Mapping[str, np.ndarray]],
    linear: LinearHead | None,
    params: UnknownParams,
) -> tuple[UnknownScore, UnknownReport]:
    """Fit every candidate, take one, and keep a share of known photos.

    Args:
        head: Multiclass or ordinal head that scores read.
        known: Photos to fit to, and others for the threshold.
        unknown: Outputs for unknown photos, by kind.
        linear: The head's linear layer, where there is one.
        params: How to choose.

    Raises:
        CalibrationError: If the configured method cannot be fitted.
    """
    candidates, refused = _candidates(head, known, linear, params.seed)
    pooled: dict[fits.Distance, dict[str, np.ndarray]] = {
        "near": _pooled([of for kind, of in unknown.items() if kind in params.near]),
        "far": _pooled([of for kind, of in unknown.items() if kind not in params.near]),
    }
    choice = fits.choose_unknown(
        candidates,
        known.held_out,
        known.groups,
        {distance: outputs for distance, outputs in pooled.items() if outputs},
        seed=params.seed,
    )
    method, because = choice.method, choice.because
    if params.method is not None:
        method, because = params.method, "It is configured: calibration.unknown.method."
        if method in refused:
            raise CalibrationError(
                f"The unknown score '{method}' cannot be fitted: {refused[method]} Set"
                " calibration.unknown.method to null or to another."
            )
    score = fits.with_threshold(candidates[method], known.held_out, known.groups, params.kept)
    own = {name: one.score(known.held_out) for name, one in candidates.items()}
    return score, UnknownReport(
        method=method,
        because=because,
        head=head.name,
        threshold=score.threshold if np.isfinite(score.threshold) else None,
        kept=params.kept,
        training_photos=len(known.labels),
        known_photos=len(known.groups),
        known_groups=len(np.unique(known.groups)),
        unknown_photos={kind: len(of[head.name]) for kind, of in unknown.items()},
        candidates={
            name: UnknownCandidate(
                **vars(choice.table[name]),
                by_kind={
                    kind: _auroc(own[name], candidates[name].score(of))
                    for kind, of in unknown.items()
                },
            )
            if name in candidates
            else UnknownCandidate(refused=refused[name])
            for name in METHODS
        },
    )


def _candidates(
    head: Head, known: KnownPhotos, linear: LinearHead | None, seed: int
) -> tuple[dict[Method, UnknownScore], dict[Method, str]]:
    """Scores that can be fitted, and why others cannot."""
    candidates: dict[Method, UnknownScore] = {}
    refused: dict[Method, str] = {}
    for method in METHODS:
        try:
            candidates[method] = fits.fit_unknown(
                method, head.name, known.train, known.labels, linear=linear, seed=seed
            )
        except ValueError as error:
            refused[method] = str(error)
    return candidates, refused


def _pooled(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    scores = np.concatenate([known, unknown])
    area = auroc(scores, np.arange(len(scores)) >= len(known))
    return 0.5 if area is None else area
