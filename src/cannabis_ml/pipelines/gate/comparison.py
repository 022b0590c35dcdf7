"""The comparison of one tier of two bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.comparison.answers import (
    STRANGER,
    ModelAnswers,
    right_answers,
    same_classes,
)
from cannabis_ml.evaluation.comparison.models import compare_models
from cannabis_ml.evaluation.comparison.risk import RiskComparison, compare_risk
from cannabis_ml.evaluation.comparison.unlabeled import compare_unlabeled
from cannabis_ml.evaluation.comparison.verdict import TierEvidence
from cannabis_ml.evaluation.predictions import outputs_of
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.confidence import confidence_scores
from cannabis_ml.inference.outputs import EMBEDDING, EPISTEMIC
from cannabis_ml.inference.routing import FIXED, RoutingRule, TierThresholds
from cannabis_ml.pipelines.gate.params import GateStageParams
from cannabis_ml.taxonomy import MISSING

Side = tuple[Bundle, pd.DataFrame]
"""A bundle, and the outputs of one of its tiers, a row per photo."""


class HeldOutPhotos(NamedTuple):
    """The photos of the test split among N photos.

    Attributes:
        rows: Which of the N they are, bool (N,).
        labels: Their labels as the challenger's taxonomy encodes them; None without test photos.
        groups: Their groups.
    """

    rows: np.ndarray
    labels: Mapping[str, np.ndarray] | None
    groups: np.ndarray


def compare_tier(
    champion: Side,
    challenger: Side,
    tier: str,
    test: HeldOutPhotos,
    gate: GateStageParams,
) -> TierEvidence:
    """Compare one tier of two bundles on the same photos, in the same order.

    Args:
        champion: The champion, and its outputs for N photos.
        challenger: The other, and its outputs.
        tier: Name of the tier.
        test: The photos of the test split. Agreement is measured on the others, or on these,
            without their labels, where there are no others.
        gate: How sure the comparison is to be.
    """
    before, after = (_answers(side, tier) for side in (champion, challenger))
    labels, groups = test.labels, test.groups
    tested = np.flatnonzero(test.rows)
    unlabelled = np.flatnonzero(~test.rows)
    seen = unlabelled if len(unlabelled) else tested
    names = challenger[1]["photo_id"].to_numpy(str)[seen].tolist()
    evidence = TierEvidence(
        unlabelled=compare_unlabeled(before.at(seen), after.at(seen), names, gate.sheet)
    )
    if labels is None:
        return evidence
    labelled = compare_models(before.at(tested), after.at(tested), labels, groups, gate.paired)
    sides = (
        (champion[0], champion[1].iloc[tested], before.at(tested)),
        (challenger[0], challenger[1].iloc[tested], after.at(tested)),
    )
    risk = _risk(sides, tier, labels, groups, gate)
    return evidence.model_copy(update={"labelled": labelled, "risk": risk})


def _answers(side: Side, tier: str) -> ModelAnswers:
    bundle, table = side
    return ModelAnswers.of(bundle.rules(tier).decision, outputs_of(table, bundle.taxonomy))


def _risk(
    sides: tuple[tuple[Bundle, pd.DataFrame, ModelAnswers], ...],
    tier: str,
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray,
    gate: GateStageParams,
) -> RiskComparison | None:
    """Error rates of the answers that each accepts at this tier, by its own rule."""
    taxonomy = sides[1][0].taxonomy
    rules = [_rule(bundle) for bundle, _, _ in sides]
    if rules[0] is None or rules[1] is None or rules[0].head != rules[1].head:
        return None
    head = next((one for one in taxonomy.heads if one.name == rules[1].head), None)
    before = sides[0][2].head(rules[0].head)
    if head is None or before is None:
        return None
    # As everywhere: a class that the champion does not know counts for neither.
    both_know = np.append(same_classes(head, before) != STRANGER, False)
    label = labels[head.name]
    known = both_know[np.where(label == MISSING, len(both_know) - 1, label)]
    if not known.any():
        return None
    both = []
    for (bundle, table, answers), rule in zip(sides, rules, strict=True):
        assert rule is not None
        accepted = _accepted(bundle, tier, table, answers, rule)
        right = right_answers(answers, head, labels[head.name]) == 1
        both.append((accepted[known], right[known]))
    return compare_risk(both[0], both[1], groups[known], gate.paired)


def _rule(bundle: Bundle) -> RoutingRule | None:
    """The bundle's routing; fixed thresholds where it has none."""
    if bundle.routing is not None:
        return bundle.routing
    head = next((one.name for one in bundle.taxonomy.heads if one.kind != "multilabel"), None)
    if head is None:
        return None
    thresholds = [*FIXED, *[FIXED[-1]] * len(bundle.tiers)][: len(bundle.tiers) - 1]
    return RoutingRule.fixed(head, bundle.tiers, thresholds)


def _accepted(
    bundle: Bundle, tier: str, table: pd.DataFrame, answers: ModelAnswers, rule: RoutingRule
) -> np.ndarray:
    thresholds = next((one for one in rule.tiers if one.tier == tier), None)
    if thresholds is None:
        return np.zeros(len(answers), bool)
    head = answers.head(rule.head)
    assert head is not None
    disagreement = table.get(rule.head + EPISTEMIC)
    scores = confidence_scores(
        head,
        answers.probs[rule.head],
        None if disagreement is None else np.array(disagreement.to_list(), float).reshape(-1),
    )[rule.score]
    unknown = _unknown(bundle, tier, table, thresholds)
    return thresholds.accepted(scores, unknown, answers.names(rule.head))


def _unknown(
    bundle: Bundle, tier: str, table: pd.DataFrame, thresholds: TierThresholds
) -> np.ndarray | None:
    unknown = bundle.rules(tier).unknown
    if unknown is None or thresholds.unknown_above is None:
        return None
    outputs = dict(outputs_of(table, bundle.taxonomy))
    if EMBEDDING in table:
        outputs[EMBEDDING] = np.stack(table[EMBEDDING].to_list())
    return unknown.score(outputs)
