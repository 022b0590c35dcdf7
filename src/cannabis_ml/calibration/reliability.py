"""Bands, prediction sets and back-off of one tier, fitted together on calibration photos."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.calibration import backoff, bands, conformal
from cannabis_ml.calibration.backoff import FittedBackOff
from cannabis_ml.calibration.choices import CandidateName, ChoiceParams
from cannabis_ml.calibration.conformal import HeadReport
from cannabis_ml.calibration.examples import examples_of
from cannabis_ml.evaluation.answered import (
    Calibrated,
    LabeledOutputs,
    answered_events,
    chain_events,
    chains_of,
)
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.inference.bands import ConfidenceBand
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.reliability import Reliability
from cannabis_ml.taxonomy import Taxonomy


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BandParams(_Params):
    """How confidence bands are fitted."""

    level: float = Field(
        default=0.95, gt=0, lt=1, description="How often a band holds the true share right"
    )
    near: float = Field(
        default=bands.NEAR,
        gt=0,
        le=1,
        description="Photos whose confidence differs by no more count",
    )


class BackOffParams(_Params):
    """How back-off is fitted."""

    alpha: float = Field(
        default=backoff.ALPHA,
        gt=0,
        lt=1,
        description="How often an answer may be on a wrong branch",
    )


class ReliabilityParams(_Params):
    """How bands, sets and back-off are fitted."""

    bands: BandParams = BandParams()
    sets: conformal.SetParams = conformal.SetParams()
    back_off: BackOffParams = BackOffParams()


class BandReport(Record):
    """What the band of one head rests on."""

    answers: int = Field(description="With a label; of a multilabel head, attributes")
    groups: int
    mean_width: float = Field(description="Over these answers")


class ReliabilityReport(Record):
    """What was fitted for one tier, and on which photos."""

    splits: list[str]
    photos: int
    groups: int
    bands: dict[str, BandReport] = Field(description="By head")
    sets: dict[str, HeadReport] = Field(description="By head")
    back_off: dict[str, FittedBackOff] = Field(description="By the deepest head of each chain")


def calibrated_out_of_fold(
    photos: LabeledOutputs,
    taxonomy: Taxonomy,
    rule: DecisionRule,
    chosen: Mapping[str, CandidateName],
    choice: ChoiceParams,
) -> Calibrated:
    """Calibrate and decide each photo by calibrators that were fitted without its group.

    Sets, bands and back-off promise something of new photos, and for these the calibrators were
    fitted to others too. Which calibrator is fitted does not change from fold to fold.

    Args:
        photos: Those that the calibrators of the tier are fitted to.
        taxonomy: Gives the heads.
        rule: Of the tier, without calibrators, as `DecisionRule.calibrated_by` takes it.
        chosen: Name of the calibrator by head.
        choice: As for `choose_calibrators`: folds, seed, and which attributes are pooled.
    """
    from cannabis_ml.calibration.calibrator_choice import methods_for

    methods = {
        head.name: {m.name: m for m in methods_for(head.kind, len(head.classes), choice.pool_below)}
        for head in taxonomy.heads
    }
    folds = 1 if set(chosen.values()) <= {"none"} else choice.folds
    _, which = np.unique(photos.groups, return_inverse=True)
    groups = int(which.max(initial=-1)) + 1
    fold = (np.random.default_rng(choice.seed).permutation(groups) % min(folds, groups))[which]
    parts = []
    for part in np.unique(fold):
        rows = np.flatnonzero(fold == part)
        # With a single fold nothing is fitted, or there is a single group.
        others = photos.at(np.flatnonzero(fold != part)) if folds > 1 < groups else photos
        fitted = {}
        for head in taxonomy.heads:
            examples = examples_of(head, taxonomy, others.outputs, others.truth, others.groups)
            if len(examples):
                name = chosen.get(head.name, "none")
                fitted[head.name] = methods[head.name][name].fit(examples)
        decision = Decision(taxonomy, rule.calibrated_by(fitted, taxonomy))
        parts.append((rows, Calibrated.of(decision, photos.at(rows).outputs)))
    return Calibrated.joined(parts, len(photos))


def fit_reliability(
    photos: LabeledOutputs,
    calibrated: Calibrated,
    taxonomy: Taxonomy,
    params: ReliabilityParams,
    splits: list[str],
) -> tuple[Reliability, ReliabilityReport]:
    """Bands, sets and back-off of one tier.

    Args:
        photos: Labels and groups of calibration photos.
        calibrated: Of the same photos, as from `calibrated_out_of_fold`.
        taxonomy: Gives the heads.
        params: How each part is fitted.
        splits: Names of the photos' splits, for the report.
    """
    found_bands: dict[str, ConfidenceBand] = {}
    band_report = {}
    for head in taxonomy.heads:
        events = answered_events(head, calibrated, photos.truth[head.name], photos.groups)
        if not len(events):
            continue
        band = bands.fit_band(
            events.confidence,
            events.right,
            events.groups,
            level=params.bands.level,
            near=params.bands.near,
        )
        ends = band.around(events.confidence)
        found_bands[head.name] = band
        band_report[head.name] = BandReport(
            answers=len(events),
            groups=len(np.unique(events.groups)),
            mean_width=float((ends[:, 1] - ends[:, 0]).mean()),
        )
    sets = conformal.fit_sets(calibrated, photos.truth, photos.groups, taxonomy, params.sets)
    chains = {}
    for chain in chains_of(taxonomy):
        confidence, right, groups = chain_events(
            chain, taxonomy, calibrated, photos.truth, photos.groups
        )
        if len(right):
            names = [head.name for head in chain]
            chains[names[-1]] = backoff.fit_backoff(
                names, confidence, right, groups, params.back_off.alpha
            )
    reliability = Reliability(
        bands=found_bands,
        sets=sets.sets if sets.sets.heads else None,
        back_off=[one.rule for one in chains.values()],
    )
    return reliability, ReliabilityReport(
        splits=splits,
        photos=len(photos),
        groups=len(np.unique(photos.groups)),
        bands=band_report,
        sets=sets.report,
        back_off=chains,
    )
