"""Accuracy after release, from audited answers and from calibrated confidence.

Audited answers weigh one over the probability with which they were drawn (Horvitz & Thompson 1952).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from cannabis_ml.errors import FeedbackError
from cannabis_ml.evaluation.intervals import effective_photos, wilson
from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted

_LEAST_SKILL = 0.3
"""An auditor who agrees with right answers no more often than with wrong ones does not count."""


@dataclass(frozen=True)
class AuditEstimate:
    """Accuracy after release.

    Attributes:
        accuracy: Estimate; None without audited answers.
        low: Lower end of its interval.
        high: Upper end.
        agreement: How often auditors agreed with the answer, before allowing for their own errors.
        photos: Audited answers it rests on.
        effective_photos: How many answers of equal weight would give the same interval.
        blind: Share of the weight that comes from people who had not seen the answer.
        seen_gap: Agreement of those who had, less that of those who had not; None without both.
        reason: In words.
        unjudged: Answers that were drawn too and that nobody has judged yet.
        high_at_best: Upper end if all of these were right. People judge soonest what is wrong, so
            accuracy is not below a limit for sure unless this is.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    agreement: float | None
    photos: int
    effective_photos: float
    blind: float
    seen_gap: float | None
    reason: str
    unjudged: int = 0
    high_at_best: float | None = None


def audited_answers(
    opinions: pd.DataFrame, answers: pd.DataFrame, people: pd.DataFrame, params: AuditParams
) -> pd.DataFrame:
    """Judgments of audited answers, one row per photo and head.

    Only photos drawn for audit count, whoever sent them; quarantined people do not, nor who is
    unsure. The model has no voice in it.

    Args:
        opinions: As from `opinions_table`.
        answers: With `photo_id`, `head` and `audit_probability`, as from the store; the inclusion
            probabilities.
        people: As from `judge_people`: `person`, `accuracy`, `quarantined`.
        params: Weight of those who had seen the answer.

    Returns:
        `photo_id`, `head`, `at` (of the latest judgment), `agreement` (weighted share of judgments
        that agree, in [0, 1]), `skill` (their weighted accuracy), `weight` (in [0, 1]: of the best
        judgment), `blind` (whether anybody had not seen the answer), `judgments` and `probability`.

    Raises:
        FeedbackError: If an audited photo has no inclusion probability.
    """
    # People stand before language models, which may be called as one of them.
    known = people.drop_duplicates("person").set_index("person")
    mine = opinions[
        opinions["audit"].astype(bool)
        & (opinions["annotator"] == "person")
        & opinions["answered"].notna()
        & opinions["verdict"].isin(["confirmed", "corrected", "none_of_these", "proposed"])
        & ~opinions["person"].map(known["quarantined"]).fillna(False).astype(bool)
    ]
    mine = mine.sort_values(["at", "opinion_id"], kind="stable")
    mine = mine.drop_duplicates(["photo_id", "person", "head"], keep="last")
    blind = ~mine["seen_answer"].astype(bool)
    weight = np.where(blind, 1.0, params.seen_answer)
    skill = mine["person"].map(known["accuracy"]).fillna(1.0).to_numpy(np.float64)
    rows = mine[["photo_id", "head", "at"]].assign(
        agree=[_agrees(*row) for row in zip(*_verdicts(mine), strict=True)],
        blind=blind,
        weight=weight,
        skill=skill,
    )
    rows = rows[rows["weight"] > 0]
    rows = rows.assign(agree=rows["agree"] * rows["weight"], skill=rows["skill"] * rows["weight"])
    judged = rows.groupby(["photo_id", "head"], sort=True).agg(
        at=("at", "max"),
        agree=("agree", "sum"),
        skill=("skill", "sum"),
        total=("weight", "sum"),
        weight=("weight", "max"),
        blind=("blind", "max"),
        judgments=("agree", "size"),
    )
    judged = judged.assign(
        agreement=judged["agree"] / judged["total"], skill=judged["skill"] / judged["total"]
    )
    return _with_probability(judged.drop(columns=["agree", "total"]).reset_index(), answers)


def estimate_accuracy(
    audited: pd.DataFrame,
    classes: int,
    params: AuditParams,
    groups: np.ndarray | None = None,
    *,
    attributes: bool = False,
) -> AuditEstimate:
    """Estimate accuracy after release from audited answers.

    Hájek's form of the Horvitz-Thompson estimator: the mean of `agreement` weighted by `weight` /
    `probability`. Its interval is Wilson's, of the effective number of answers (Kish's, and no more
    than groups allow). Auditors who are right with probability s agree with a right answer as
    often, and with a wrong one with (1 - s) / (K - 1); what is seen is mapped back (Rogan & Gladen
    1978, Am. J. Epidemiol. 107:71), s taken as known.

    An answer of a multilabel head is right if all K attributes are. Who is right on one with
    probability s agrees with a right list with s^K, and with a list that is wrong in one attribute
    with s^(K - 1) (1 - s); with one that is wrong in more, less often, so that the result is rather
    too low than too high.

    Args:
        audited: Of one head; as from `audited_answers`.
        classes: K of the head; has no effect without `correct_for_people`.
        params: Of the interval.
        groups: Of each answer a number or name, (N,): near-duplicates are right or wrong together.
        attributes: Whether the head is a multilabel one.
    """
    skilled = audited
    if params.correct_for_people:
        skill, chance = _agreeing(audited["skill"].to_numpy(np.float64), classes, attributes)
        enough = skill - chance >= _LEAST_SKILL
        skilled = audited[enough].assign(skill=skill[enough], chance=chance[enough])
        groups = None if groups is None else groups[enough]
    if skilled.empty:
        why = (
            "nobody who audited is right often enough" if len(audited) else "no answer was audited"
        )
        return AuditEstimate(None, None, None, None, 0, 0.0, 0.0, None, why)
    weights = (skilled["weight"] / skilled["probability"]).to_numpy(np.float64)
    agreement = skilled["agreement"].to_numpy(np.float64)
    total = weights.sum()
    mean = float(weights @ agreement / total)
    effective = float(total**2 / (weights**2).sum())
    if groups is not None:
        effective *= effective_photos(agreement > 0.5, groups, params.confidence) / len(skilled)
    ends = wilson(mean * effective, effective, params.confidence) or (0.0, 1.0)
    values = np.array([mean, *ends])
    if params.correct_for_people:
        right, wrong = (float(weights @ skilled[name] / total) for name in ("skill", "chance"))
        values = np.clip((values - wrong) / (right - wrong), 0.0, 1.0)
    blind = skilled["blind"].to_numpy(bool)
    accuracy, low, high = map(float, values)
    return AuditEstimate(
        accuracy=accuracy,
        low=low,
        high=high,
        agreement=mean,
        photos=len(skilled),
        effective_photos=effective,
        blind=float(weights[blind].sum() / total),
        seen_gap=_gap(agreement, weights, blind),
        reason=f"right in {accuracy:.1%} ({low:.1%} to {high:.1%} with {params.confidence:.0%}) of"
        f" {counted(len(skilled), 'audited answer')}; auditors agreed with {mean:.1%}",
    )


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Accuracy that calibrated confidence promises, without a label.

    Attributes:
        accuracy: Mean confidence.
        low: Lower end of where the share of right answers lies, if every confidence is true.
        high: Upper end.
        answers: How many.
    """

    accuracy: float
    low: float
    high: float
    answers: int

    def is_contradicted_by(self, audit: AuditEstimate) -> bool:
        """Whether the audit's interval and this one have nothing in common."""
        if audit.low is None or audit.high is None:
            return False
        return audit.high < self.low or self.high < audit.low


def expected_accuracy(confidence: np.ndarray, level: float = 0.95) -> ExpectedAccuracy | None:
    """Accuracy of answers as their calibrated confidence has it.

    The number of right answers is a sum of independent events with these probabilities (Poisson
    binomial), taken as normal. It holds as long as calibration does: drift shows first here.

    Args:
        confidence: Calibrated, in [0, 1], (N,); NaN where not known.
        level: Probability of the interval.

    Returns:
        None where no confidence is known.
    """
    known = np.asarray(confidence, np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    mean = float(known.mean())
    z = NormalDist().inv_cdf((1 + level) / 2)
    half = z * math.sqrt(float((known * (1 - known)).sum())) / len(known)
    return ExpectedAccuracy(mean, max(0.0, mean - half), min(1.0, mean + half), len(known))


def accuracy_after_release(
    audited: pd.DataFrame, answers: pd.DataFrame, taxonomy: Taxonomy, params: AuditParams
) -> pd.DataFrame:
    """Accuracy of each head after release, as audited and as confidence promises.

    Args:
        audited: As from `audited_answers`; all heads.
        answers: Of the same time, with `head` and `answered_confidence`, as from the store.
        taxonomy: Heads, in the order of the rows. An answer of a multilabel head is right if the
            whole list is.
        params: Of the intervals.

    Returns:
        One row per head: `head`; `accuracy`, `low`, `high`, `agreement`, `photos`,
        `effective_photos`, `blind`, `seen_gap` and `reason` of `AuditEstimate`; `expected` with
        `expected_low` and `expected_high`; `answers`; and `contradicted`, whether the audit and
        the confidence cannot both be true. NaN where not known.
    """
    rows = []
    for head in taxonomy.heads:
        mine = audited[audited["head"] == head.name]
        estimate = estimate_accuracy(
            mine, len(head.class_names), params, attributes=head.kind == "multilabel"
        )
        sure = answers.loc[answers["head"] == head.name, "answered_confidence"]
        expected = expected_accuracy(sure.to_numpy(np.float64), params.confidence)
        rows.append(
            {
                "head": head.name,
                **vars(estimate),
                "expected": expected.accuracy if expected else np.nan,
                "expected_low": expected.low if expected else np.nan,
                "expected_high": expected.high if expected else np.nan,
                "answers": expected.answers if expected else 0,
                "contradicted": expected is not None and expected.is_contradicted_by(estimate),
            }
        )
    floats = ["accuracy", "low", "high", "agreement", "seen_gap"]
    return pd.DataFrame(rows).astype(dict.fromkeys(floats, "float64"))


def _verdicts(opinions: pd.DataFrame) -> tuple[list[str], list[Label], list[Label]]:
    return (
        opinions["verdict"].tolist(),
        opinions["label"].tolist(),
        opinions["answered"].tolist(),
    )


def _agrees(verdict: str, label: Label, answered: Label) -> float:
    if verdict == "confirmed":
        return 1.0
    if verdict != "corrected":
        return 0.0
    return float(_as_set(label) == _as_set(answered))


def _as_set(label: Label) -> frozenset[str]:
    return frozenset([label] if isinstance(label, str) else label or ())


def _with_probability(judged: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    drawn = answers.dropna(subset=["audit_probability"]).groupby("photo_id")["audit_probability"]
    probability = judged["photo_id"].map(drawn.max())
    lost = judged["photo_id"][~(probability > 0)].unique()
    if len(lost):
        raise FeedbackError(
            f"{counted(len(lost), 'audited photo')} of {judged['photo_id'].nunique():,} have no"
            f" inclusion probability, such as {lost[0]}. Draw them with"
            " FeedbackStore.mark_audit(photo_ids, probability)."
        )
    return judged.assign(probability=probability.astype(float))


def _agreeing(skill: np.ndarray, classes: int, attributes: bool) -> tuple[np.ndarray, np.ndarray]:
    """How often an auditor agrees with a right answer, and with a wrong one."""
    if attributes:
        return skill**classes, skill ** (classes - 1) * (1 - skill)
    return skill, (1 - skill) / (classes - 1)


def with_unjudged(
    estimate: AuditEstimate,
    audited: pd.DataFrame,
    waiting: pd.Series,
    classes: int,
    params: AuditParams,
) -> AuditEstimate:
    """Add what is not judged yet to an estimate of a multiclass or ordinal head.

    Args:
        estimate: From `estimate_accuracy`.
        audited: What it was made from.
        waiting: Inclusion probabilities of answers that were drawn and are not judged.
        classes: As for `estimate_accuracy`.
        params: As for `estimate_accuracy`.
    """
    if estimate.accuracy is None or waiting.empty:
        return replace(estimate, unjudged=len(waiting), high_at_best=estimate.high)
    # Auditors would agree with right answers as often as they are right themselves.
    skill = float(audited["skill"].mean()) if params.correct_for_people else 1.0
    right = pd.DataFrame(
        {"probability": waiting.to_numpy(np.float64), "agreement": skill, "skill": skill}
    ).assign(weight=1.0, blind=True)
    together = pd.concat([audited[right.columns], right], ignore_index=True)
    best = estimate_accuracy(together, classes, params)
    return replace(estimate, unjudged=len(waiting), high_at_best=best.high)


def _gap(agreement: np.ndarray, weights: np.ndarray, blind: np.ndarray) -> float | None:
    if blind.all() or not blind.any():
        return None
    seen = float(np.average(agreement[~blind], weights=weights[~blind]))
    return seen - float(np.average(agreement[blind], weights=weights[blind]))
