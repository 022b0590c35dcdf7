"""The routing over all tiers, and what it does on test photos."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.calibration.routing_choice import RoutingReport, TierEvidence
from cannabis_ml.calibration.tier_answers import routed_head, routing_head
from cannabis_ml.evaluation.answered import labeled_outputs
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.model_file import FLOAT, QUANTIZED
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Taxonomy

logger = logging.getLogger(__name__)


def answers_for_routing(
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    calibrated_decision: DecisionRule,
    unknown_score: UnknownScore,
    latency: LatencyReport,
    calibration: CalibrationParams,
) -> TierEvidence:
    """Collect what routing needs to know of a tier: scores, who was right, and what it costs.

    Args:
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        calibrated_decision: As `calibrate` gives it.
        unknown_score: As `choose_unknown` gives it.
        latency: Of the tier's files: the median from JPEG to probabilities on one thread counts.
        calibration: The head that routes.
    """
    head = routing_head(taxonomy, calibration.routing.head)
    decision = Decision(taxonomy, calibrated_decision)
    labels = photo_set.labels()
    heads, groups = {}, {}
    for split in (Split.VALIDATION, Split.CALIBRATION, Split.TEST):
        photos = labeled_outputs(file_outputs, labels, taxonomy, split)
        photos = photos.at(np.flatnonzero(photos.truth[head.name] != MISSING))
        groups[split] = photos.groups
        heads[split] = routed_head(
            head, photos.outputs, photos.truth[head.name], decision, unknown_score
        )
    kind = QUANTIZED if QUANTIZED in latency.files else FLOAT
    return TierEvidence(heads, groups, latency.files[kind].one_thread.jpeg_ms.p50)


def choose_routing(
    taxonomy: Taxonomy, calibration: CalibrationParams, **tiers: TierEvidence
) -> tuple[RoutingRule, RoutingReport]:
    """Choose when the answer of a smaller tier is good enough, with what that promises.

    Args:
        taxonomy: The heads.
        calibration: What is promised, and what each tier costs.
        **tiers: As `answers_for_routing` gives them, by the names of the tiers, smallest first.
    """
    from cannabis_ml.calibration import routing_choice

    rule, report = routing_choice.choose_routing(
        routing_head(taxonomy, calibration.routing.head), tiers, calibration.routing
    )
    logger.info("Routing by %s: %s", rule.head, report.sentence)
    return rule, report


def draw_routing(
    routing: RoutingRule,
    routing_report: RoutingReport,
    calibration: CalibrationParams,
    **tiers: TierEvidence,
) -> dict[str, Figure]:
    """Draw how often accepted answers are wrong, and what they cost, on test photos.

    Args:
        routing: As `choose_routing` gives it.
        routing_report: As `choose_routing` gives it, with the cost of each tier.
        calibration: How much each kind of cost counts.
        **tiers: As for `choose_routing`.

    Returns:
        No figure where no test photo has a label of the head that routes.
    """
    from cannabis_ml.pipelines.calibration.figures_routing import (
        cost_accuracy_figure,
        risk_coverage_figure,
    )

    groups = next(iter(tiers.values())).groups[Split.TEST]
    if not len(groups):
        return {}
    answers = [
        tier.heads[Split.TEST].by(name, routing.score, routing_report.costs[name])
        for name, tier in tiers.items()
    ]
    return {
        "risk_coverage": risk_coverage_figure(routing, answers, groups),
        "cost_accuracy": cost_accuracy_figure(
            routing, answers, groups, calibration.routing.weights
        ),
    }
