"""Confidence bands, prediction sets and back-off of a tier, and what makes answers of outputs.

`Reliability` holds what was fitted on calibration photos; the bundle has a file of it per tier.
`TierRules` joins it with the decision and the unknown score, and applies them in the one order that
every client keeps: calibrate, decide, then sets, back-off and the unknown score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.backoff import BackOff
from cannabis_ml.inference.bands import ConfidenceBand
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.prediction_sets import HeadSets, PredictionSets
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


class Reliability(BaseModel):
    """What was fitted on calibration photos for the answers of one tier; parts may be missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: dict[str, ConfidenceBand] = Field(
        default_factory=dict,
        description="By head, around the confidence of its answer; of a multilabel head, around the"
        " probability that an attribute is there",
    )
    sets: PredictionSets | None = Field(default=None, description="None: no prediction sets")
    back_off: list[BackOff] = Field(
        default_factory=list, description="One per chain of heads that limit each other"
    )

    @property
    def is_empty(self) -> bool:
        """Whether nothing was fitted."""
        return not self.bands and self.sets is None and not self.back_off

    def faults(self, taxonomy: Taxonomy) -> Iterator[str]:
        """What it holds of heads and classes that a taxonomy does not have."""
        heads = {head.name: head for head in taxonomy.heads}
        for name in self.bands:
            if name not in heads:
                yield f"a band is for '{name}', which is not a head"
        for name, sets in ({} if self.sets is None else self.sets.heads).items():
            if name not in heads:
                yield f"prediction sets are for '{name}', which is not a head"
            else:
                yield from _set_faults(heads[name], sets)
        for rule in self.back_off:
            yield from _chain_faults(rule.heads, heads)


@dataclass(frozen=True, eq=False)
class Findings:
    """Answers of a tier for N photos, in arrays.

    Attributes:
        probs: Per head, calibrated, (N, K).
        decided: As from `Decision.decide`.
        confidence: Per multiclass and ordinal head, calibrated probability of its answer, float64
            (N,), NaN where it has none.
        sets: As from `PredictionSets.apply`; empty where there are none.
        back_off: Per chain, under the name of its deepest head, what `BackOff.depth` gives.
        unknown: Unknown scores, float64 (N,); None where the tier has none.
    """

    probs: Mapping[str, np.ndarray]
    decided: Mapping[str, np.ndarray]
    confidence: Mapping[str, np.ndarray]
    sets: Mapping[str, np.ndarray]
    back_off: Mapping[str, np.ndarray]
    unknown: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TierRules:
    """All that is applied to what the model files of one tier give.

    Attributes:
        decision: Calibrators, thresholds and joint decoding.
        reliability: Sets and back-off.
        unknown: None where the tier has none.
    """

    decision: Decision
    reliability: Reliability = field(default_factory=Reliability)
    unknown: UnknownScore | None = None

    def apply(self, outputs: Mapping[str, np.ndarray]) -> Findings:
        """Answer for the outputs of a model file.

        Args:
            outputs: As the file gives them, raw, (N, …).

        Raises:
            KeyError: If an output is not there that something here needs.
        """
        taxonomy, reliability = self.decision.taxonomy, self.reliability
        calibrated = self.decision.calibrated(outputs)
        decided = self.decision.decide(outputs)
        confidence = {
            head.name: answer_confidence(calibrated[head.name], decided[head.name])
            for head in taxonomy.heads
            if head.kind != "multilabel"
        }
        return Findings(
            probs={head.name: np.asarray(calibrated[head.name]) for head in taxonomy.heads},
            decided=decided,
            confidence=confidence,
            sets={}
            if reliability.sets is None
            else reliability.sets.apply(calibrated, decided, taxonomy),
            back_off={
                rule.heads[-1]: rule.depth(
                    np.stack([confidence[name] for name in rule.heads], axis=1)
                )
                for rule in reliability.back_off
            },
            unknown=None if self.unknown is None else self.unknown.score(outputs),
        )


def answer_confidence(probs: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Probability of each photo's answer.

    Args:
        probs: Of a multiclass or ordinal head, (N, K).
        decided: Class indices, int64 (N,), `MISSING` without an answer.

    Returns:
        float64 (N,), NaN without an answer.
    """
    probs = np.asarray(probs, np.float64)
    confidence = probs[np.arange(len(decided)), decided]
    return np.where(decided == MISSING, np.nan, confidence)


def _set_faults(head: Head, sets: HeadSets) -> Iterator[str]:
    if sets.kind != head.kind:
        yield f"prediction sets of '{head.name}' are {sets.kind}, the head is {head.kind}"
        return
    expected = len(head.classes)
    absent = expected if head.kind == "multilabel" else 0
    counts = [
        ("limits", len(sets.limits), expected),
        ("groups", len(sets.groups), expected),
        ("absent_limits", len(sets.absent_limits), absent),
        ("absent_groups", len(sets.absent_groups), absent),
    ]
    for name, count, right in counts:
        if count != right:
            yield f"prediction sets of '{head.name}' have {count} {name}, not {right}"


def _chain_faults(names: list[str], heads: Mapping[str, Head]) -> Iterator[str]:
    parent = None
    for name in names:
        if name not in heads:
            yield f"a back-off is for '{name}', which is not a head"
            return
        if heads[name].kind == "multilabel":
            yield f"a back-off is for '{name}', which is multilabel"
        if parent is not None and heads[name].parent != parent:
            yield f"a back-off goes from '{name}' to '{parent}', which is not its parent"
        parent = name
