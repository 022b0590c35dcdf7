"""The gate: whether a challenger takes the champion's place, and every reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.comparison.models import HeadComparison, ModelComparison
from cannabis_ml.evaluation.comparison.paired import PairedDifference, groups_needed, holm
from cannabis_ml.evaluation.comparison.params import Budget, GateParams
from cannabis_ml.evaluation.comparison.risk import RiskComparison
from cannabis_ml.evaluation.comparison.unlabeled import UnlabeledComparison
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.inference.routing import Promised

Outcome = Literal["promote", "look", "refuse"]

Bearing = Literal["passes", "look", "refuse"]
"""Bearing of a reason: for promotion, a case for a person's judgement, or against it."""


class Cost(Record):
    """What the file of a tier that ships costs here."""

    milliseconds: float = Field(description="Median per photo, JPEG to probabilities, one thread")
    megabytes: float


class Reason(Record):
    """One thing that was compared, and what follows from it."""

    bearing: Bearing
    tier: str | None
    about: str = Field(description="Such as `overall`, `class`, `calibration`, `latency`")
    text: str


class TierEvidence(Record):
    """Everything that was compared of one tier; nothing of a tier that the champion lacks."""

    labelled: ModelComparison | None = None
    unlabelled: UnlabeledComparison | None = None
    risk: RiskComparison | None = None
    cost: Cost | None = None


class GateReport(Record):
    """What the gate found."""

    outcome: Outcome
    champion: str | None = Field(description="Id of its bundle; None where there was none")
    challenger: str = Field(description="Id of its bundle")
    reasons: list[Reason]
    tiers: dict[str, TierEvidence] = Field(default_factory=dict)
    too_few_photos: list[str] = Field(
        default_factory=list,
        description="Classes with so few groups that even the loss of all would not be significant",
    )
    in_words: str

    def of(self, bearing: Bearing) -> list[Reason]:
        """Reasons with this bearing."""
        return [reason for reason in self.reasons if reason.bearing == bearing]


def first_champion(challenger: str) -> GateReport:
    """The report where there is no champion to compare with.

    Args:
        challenger: Id of its bundle.
    """
    text = "There is no champion yet: the first bundle becomes it without a comparison."
    reason = Reason(bearing="passes", tier=None, about="first", text=text)
    return GateReport(
        outcome="promote", champion=None, challenger=challenger, reasons=[reason], in_words=text
    )


def the_champion_itself(bundle_id: str) -> GateReport:
    """The report where the challenger is the champion already.

    Args:
        bundle_id: Of both.
    """
    text = "It is the champion already: there is nothing to compare."
    reason = Reason(bearing="passes", tier=None, about="same", text=text)
    return GateReport(
        outcome="promote", champion=bundle_id, challenger=bundle_id, reasons=[reason], in_words=text
    )


def judge_challenger(
    champion: str,
    challenger: str,
    tiers: Mapping[str, TierEvidence],
    gate: GateParams,
    promised: tuple[Promised | None, Promised | None] = (None, None),
) -> GateReport:
    """Decide on a challenger.

    It is refused where it is shown to be worse, promoted where it is shown not to be, and left to a
    person in between: where photos are too few to show either, or answers changed on many.

    Args:
        champion: Id of its bundle.
        challenger: Id of its bundle.
        tiers: What was compared, by tier.
        gate: Margins and budgets.
        promised: What the routing of each promises; None where it promises nothing.
    """
    reasons: list[Reason] = []
    few: list[str] = []
    for tier, evidence in tiers.items():
        compared = evidence.labelled
        if compared is not None:
            reasons += _overall(tier, compared, gate)
            reasons += _heads(tier, compared, gate)
            reasons += _classes(tier, compared, gate)
            reasons += _taxonomy(tier, compared)
            few += _too_few(tier, compared, gate)
            for name, head in compared.heads.items():
                reasons += _calibration(tier, name, head, gate)
        if evidence.risk is not None:
            reasons += _risk(tier, evidence.risk, gate)
        if evidence.unlabelled is not None:
            reasons += _agreement(tier, evidence.unlabelled, gate)
        reasons += _budget(tier, evidence.cost, gate.budgets.get(tier, Budget()))
    reasons += _promises(*promised)
    bearings = {reason.bearing for reason in reasons}
    outcome: Outcome = "promote"
    if bearings & {"refuse", "look"}:
        outcome = "refuse" if "refuse" in bearings else "look"
    report = GateReport(
        outcome=outcome,
        champion=champion,
        challenger=challenger,
        reasons=reasons,
        tiers=dict(tiers),
        too_few_photos=few,
        in_words="",
    )
    return report.model_copy(update={"in_words": _in_words(report)})


def _in_words(report: GateReport) -> str:
    if report.outcome == "promote":
        return "The challenger is promoted: " + "; ".join(
            reason.text for reason in report.reasons if reason.about == "overall"
        )
    if report.outcome == "refuse":
        worse = "; ".join(reason.text for reason in report.of("refuse"))
        return f"The challenger is refused: {worse}"
    open_ones = "; ".join(reason.text for reason in report.of("look"))
    return (
        f'A person has to look: {open_ones}. If it shall be champion: kedro promote --reason "WHY".'
    )


def _overall(tier: str, compared: ModelComparison, gate: GateParams) -> Iterator[Reason]:
    paired = compared.overall
    if paired is None:
        yield Reason(
            bearing="look",
            tier=tier,
            about="overall",
            text=f"{tier}: no test photo has a label that both models know",
        )
        return
    text = f"{tier}: {_points(paired)} overall, on {_counted(paired)}"
    if paired.not_inferior(gate.margin):
        bearing: Bearing = "passes"
        text += f"; with {gate.paired.confidence:.0%} confidence at least {100 * paired.lower:+.1f}"
    elif paired.difference < -gate.margin and paired.p_worse < gate.significant:
        bearing = "refuse"
    else:
        bearing = "look"
        needed = groups_needed(paired, gate.margin, gate.paired.confidence)
        would = "more photos like these would not" if needed is None else f"about {needed:,} would"
        text += (
            f"; too few to show that it is worse by no more than {100 * gate.margin:g} points"
            f" ({would})"
        )
    yield Reason(bearing=bearing, tier=tier, about="overall", text=text)


def _heads(tier: str, compared: ModelComparison, gate: GateParams) -> Iterator[Reason]:
    for name, head in compared.heads.items():
        paired = head.difference
        if paired is None:
            continue
        worse = paired.difference < -gate.head_margin and paired.p_worse < gate.significant
        yield Reason(
            bearing="refuse" if worse else "passes",
            tier=tier,
            about="head",
            text=f"{tier}: {_points(paired)} of '{name}', on {_counted(paired)}",
        )


def _classes(tier: str, compared: ModelComparison, gate: GateParams) -> Iterator[Reason]:
    """Classes that lose more than the margin; all others in one sentence."""
    every = _every_class(compared)
    adjusted = holm(np.array([paired.p_worse for _, paired in every]))
    worse = 0
    for (name, paired), p_value in zip(every, adjusted, strict=True):
        if paired.difference >= -gate.class_margin or paired.p_worse >= gate.significant:
            continue
        worse += 1
        low, high = paired.interval
        sure = p_value < gate.significant
        yield Reason(
            bearing="refuse" if sure else "look",
            tier=tier,
            about="class",
            text=f"{tier}: {_points(paired)} of '{name}' (from {100 * low:+.0f} to"
            f" {100 * high:+.0f}), on {_counted(paired)}"
            + ("" if sure else "; of so many classes, one may lose as much by chance"),
        )
    if every and not worse:
        yield Reason(
            bearing="passes",
            tier=tier,
            about="class",
            text=f"{tier}: none of {len(every)} classes is significantly worse by more than"
            f" {100 * gate.class_margin:g} points",
        )


def _too_few(tier: str, compared: ModelComparison, gate: GateParams) -> Iterator[str]:
    for name, paired in _every_class(compared):
        if 0.5**paired.groups >= gate.significant:
            yield f"{tier}: {name} ({paired.groups} groups)"


def _every_class(found: ModelComparison) -> list[tuple[str, PairedDifference]]:
    return [
        (f"{head}.{name}", paired)
        for head, compared in found.heads.items()
        for name, paired in compared.classes.items()
    ]


def _taxonomy(tier: str, compared: ModelComparison) -> Iterator[Reason]:
    gone = [f"head '{name}'" for name in compared.missing_heads]
    for name, head in compared.heads.items():
        gone += [f"class '{lost}' of '{name}'" for lost in head.missing_classes]
    if gone:
        yield Reason(
            bearing="look",
            tier=tier,
            about="taxonomy",
            text=f"{tier}: the challenger no longer has {', '.join(gone)}",
        )
    for name, head in compared.heads.items():
        for new, seen in head.new_classes.items():
            recall = "no test photo" if seen.recall is None else f"recall {seen.recall:.0%}"
            yield Reason(
                bearing="passes",
                tier=tier,
                about="new class",
                text=f"{tier}: '{new}' of '{name}' is new, {recall} on {seen.photos:,} photos",
            )


def _calibration(tier: str, name: str, head: HeadComparison, gate: GateParams) -> Iterator[Reason]:
    calibration = head.calibration
    if calibration is None:
        return
    before, after = calibration.champion.value, calibration.challenger.value
    untrue = calibration.challenger.is_above_chance and after > before + gate.calibration_margin
    yield Reason(
        bearing="refuse" if untrue else "passes",
        tier=tier,
        about="calibration",
        text=f"{tier}: smooth ECE of '{name}' {after:.3f}, before {before:.3f}; by chance up to"
        f" {calibration.challenger.perfect_interval[1]:.3f}",
    )
    loss = calibration.log_loss
    if loss.difference > gate.log_loss_margin and loss.interval[0] > 0:
        yield Reason(
            bearing="refuse",
            tier=tier,
            about="calibration",
            text=f"{tier}: log loss of '{name}' {loss.challenger:.3f}, before {loss.champion:.3f}",
        )


def _risk(tier: str, risk: RiskComparison, gate: GateParams) -> Iterator[Reason]:
    if risk.difference is None or risk.champion is None or risk.challenger is None:
        return
    low, _ = risk.interval or (0.0, 0.0)
    worse = risk.difference > gate.risk_margin and low > 0
    yield Reason(
        bearing="refuse" if worse else "passes",
        tier=tier,
        about="risk",
        text=f"{tier}: {risk.challenger:.1%} of accepted answers wrong, before"
        f" {risk.champion:.1%}; accepted {risk.challenger_accepted:.0%}, before"
        f" {risk.champion_accepted:.0%}",
    )


def _promises(before: Promised | None, after: Promised | None) -> Iterator[Reason]:
    if before is None:
        return
    kept = after is not None and after.error_rate <= before.error_rate
    kept = kept and after is not None and after.confidence >= before.confidence
    yield Reason(
        bearing="passes" if kept else "refuse",
        tier=None,
        about="promise",
        text=f"the champion's routing promises that {before}; the challenger's, "
        + ("nothing" if after is None else f"that {after}"),
    )


def _agreement(tier: str, compared: UnlabeledComparison, gate: GateParams) -> Iterator[Reason]:
    for name, head in compared.heads.items():
        if head.agreement is None:
            continue
        yield Reason(
            bearing="passes" if head.agreement >= gate.agreement - 1e-9 else "look",
            tier=tier,
            about="agreement",
            text=f"{tier}: {head.agreement:.1%} of {head.answers:,} answers of '{name}' are as"
            f" before, mean confidence {head.challenger_confidence:.2f}, before"
            f" {head.champion_confidence:.2f}",
        )


def _budget(tier: str, cost: Cost | None, budget: Budget) -> Iterator[Reason]:
    if cost is None:
        return
    for about, unit, spent, most in (
        ("latency", "ms per photo", cost.milliseconds, budget.milliseconds),
        ("size", "MB", cost.megabytes, budget.megabytes),
    ):
        if most is not None:
            yield Reason(
                bearing="passes" if spent <= most else "refuse",
                tier=tier,
                about=about,
                text=f"{tier}: {spent:.1f} {unit}, budget {most:g}",
            )


def _points(paired: PairedDifference) -> str:
    return f"{100 * paired.difference:+.1f} points"


def _counted(paired: PairedDifference) -> str:
    groups = "" if paired.groups == paired.photos else f" in {paired.groups:,} groups"
    return f"{paired.photos:,} photos{groups} ({paired.won} won, {paired.lost} lost)"
