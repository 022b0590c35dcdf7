"""Calibration of a finished run, and what routing by it is worth. Trains nothing.

    python tests/benchmarks/bench_calibration.py DATA [--head HEAD] [--costs 15,25,250]

DATA is the folder of data of a run that went through calibration, such as `data` or
`data/envs/folder`. Everything is of the files that ship. Calibrators, prediction sets and promises
were fitted to calibration photos, and the sequence of routings that a promise tests to validation
photos; every figure is of test photos, which nothing was fitted to.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from finished_run import FinishedRun
from machine import machine

from cannabis_ml.calibration.promise import MILLISECONDS, RoutingFigures
from cannabis_ml.calibration.routing_choice import (
    RoutingParams,
    RoutingReport,
    TierEvidence,
    choose_routing,
)
from cannabis_ml.calibration.tier_answers import routing_head
from cannabis_ml.evaluation.answered import LabeledOutputs
from cannabis_ml.evaluation.calibration_scores import CalibrationError, CalibrationScores
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.ranking import score_ranking
from cannabis_ml.inference.confidence import SCORES, confidence_scores
from cannabis_ml.inference.outputs import EPISTEMIC
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.pipelines.calibration.routing_nodes import answers_for_routing
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head

PROMISES = (0.05, 0.1, 0.2)
COVERAGES = (0.6, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of data of a finished run")
    parser.add_argument("--head", help="that routes; default: the first with one answer")
    parser.add_argument("--score", choices=SCORES, help="that routes; default: by AUGRC")
    parser.add_argument(
        "--costs",
        default="15,25,250",
        help="of tiers, milliseconds per photo, or `measured`, which knows no network; default:"
        " %(default)s",
    )
    given = parser.parse_args()
    run = FinishedRun(given.data)
    print(machine(("numpy", "scipy", "scikit-learn")))
    print_judged(run)
    print_ranking(run)
    print_trust(run)
    print_routing(run, given)


def print_judged(run: FinishedRun) -> None:
    """Losses and errors of calibration, before and after, with what the issue aims at."""
    print("\nJudged on test photos, before -> after calibration")
    print("(errors: value, mean and upper end of what a perfectly calibrated model gets by chance)")
    missed = []
    for tier in run.tiers:
        scores = run.report(tier, "calibration_scores")
        choices = run.report(tier, "calibrator_choices")
        for name, before in scores.before.items():
            after, choice = scores.after[name], choices.heads[name]
            fitted = f"{choice.chosen} of {choice.groups} groups"
            print(f"\n{tier}, {name}: {after.photos} photos in {after.groups} groups; {fitted}")
            if after.log_loss is None:
                continue
            for what, values in (
                ("log loss", [one.log_loss for one in (before, after)]),
                ("  of it calibration", [one.calibration_loss for one in (before, after)]),
                ("  of it refinement", [one.refinement_loss for one in (before, after)]),
                ("Brier", [one.brier for one in (before, after)]),
                ("accuracy", [one.accuracy for one in (before, after)]),
                ("mean confidence", [one.mean_confidence for one in (before, after)]),
            ):
                print(f"  {what:22}" + " -> ".join(_number(value) for value in values))
            for what in ("smooth_ece", "ece", "classwise_ece"):
                pair = [getattr(one, what) for one in (before, after)]
                told = " -> ".join(_error(one) for one in pair)
                print(f"  {what.replace('_', ' '):22}{told}")
            missed += [f"{tier}, {name}: {fault}" for fault in _missed(before, after)]
    print("\nAims: smooth ECE within the band of a perfect model, log loss not worse than raw")
    print("\n".join(f"  MISSED {fault}" for fault in missed) or "  reached on every tier and head")


def _missed(before: CalibrationScores, after: CalibrationScores) -> list[str]:
    faults = []
    if after.smooth_ece is not None and after.smooth_ece.is_above_chance:
        end = after.smooth_ece.perfect_interval[1]
        faults.append(f"smooth ECE {after.smooth_ece.value:.3f} is above {end:.3f}")
    if before.log_loss is not None and after.log_loss is not None:
        worse = after.log_loss - before.log_loss
        if worse > 1e-9:
            faults.append(f"log loss is {worse:.4f} worse than raw")
    return faults


def print_ranking(run: FinishedRun) -> None:
    """How confidence scores rank errors, and what the surest answers are worth."""
    print("\nRanking of errors on test photos, by calibrated probabilities")
    print("AUGRC x 1000, lower is better; in brackets the 95% interval of the distance to the best")
    for tier in run.tiers:
        photos, decision = run.photos(tier, Split.TEST), run.decision(tier)
        probs, decided = decision.calibrated(photos.outputs), decision.decide(photos.outputs)
        for head in run.taxonomy.heads:
            disagreement = photos.outputs.get(head.name + EPISTEMIC)
            scores = confidence_scores(head, probs[head.name], disagreement)
            right, known, groups = _right(head, decided[head.name], photos)
            if not known.any():
                continue
            flat = {name: values[known] for name, values in scores.items()}
            found = score_ranking(flat, right[known], groups[known], coverages=COVERAGES)
            print(f"\n{tier}, {head.name}: {found['n']} answers, {found['accuracy']:.1%} right")
            for name, one in found["scores"].items():
                low, high = (1000 * end for end in one["augrc_above_best_interval"])
                at = "  ".join(f"{share:.1%}" for share in one["accuracy_at"].values())
                best = "best" if name == found["best"] else f"{low:+.1f} to {high:+.1f}"
                auroc = "-" if one["auroc"] is None else f"{one['auroc']:.3f}"
                print(
                    f"  {name:16}{1000 * one['augrc']:7.1f} ({best:>14})  AUROC {auroc}"
                    f"  accuracy at 60, 80, 100%: {at}"
                )


def _right(
    head: Head, decided: np.ndarray, photos: LabeledOutputs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether answers are right, whether they have a label, and groups; of attributes (N, K)."""
    truth = photos.truth[head.name]
    if head.kind != "multilabel":
        return decided == truth, truth != MISSING, photos.groups
    groups = np.broadcast_to(photos.groups[:, None], truth.shape)
    return decided == (truth == 1), ~np.isnan(truth), groups


def print_trust(run: FinishedRun) -> None:
    """What is promised of sets, bands, back-off and unknown scores, and what test photos show."""
    print("\nPromises on test photos (kept: unless chance explains a miss one time in forty)")
    for tier in run.tiers:
        scores = run.report(tier, "reliability_scores")
        print(f"\n{tier}")
        for name, one in scores.sets.items():
            if one.coverage is None:
                continue
            print(
                f"  sets of {name}: {one.coverage:.1%} hold the truth"
                f" {_interval(one.coverage_interval)}"
                f" of {one.n}, promised {one.promised:.0%}, by chance at least"
                f" {one.least_by_chance:.1%}; mean size {one.mean_size:.2f}, one class in"
                f" {one.single:.0%}{_kept(one.kept)}"
            )
        for name, one in scores.bands.items():
            print(
                f"  band of {name}: mean width {one.mean_width:.2f}; agrees with test photos in"
                f" {one.consistent_bins} of {one.bins} bins"
            )
        for name, one in scores.back_off.items():
            shares = ", ".join(f"{head or 'none'} {s:.0%}" for head, s in one.answered.items())
            print(
                f"  back-off from {name}: wrong branch {one.wrong_branch:.1%}"
                f" {_interval(one.wrong_branch_interval)} (without {one.wrong_without:.1%}),"
                f" promised {one.promised:.0%}; answered by {shares}{_kept(one.kept)}"
            )
        if scores.unknown is not None and scores.unknown.false_alarms is not None:
            one, report = scores.unknown, run.report(tier, "unknown_report")
            caught = ", ".join(f"{kind} {share:.0%}" for kind, share in one.caught.items())
            print(
                f"  unknown by {report.method}: {one.false_alarms:.1%} false alarms"
                f" {_interval(one.false_alarms_interval)}{_kept(one.kept)}; caught: {caught}"
            )


def print_routing(run: FinishedRun, given: argparse.Namespace) -> None:
    """Promised and fixed routings on test photos."""
    params = CalibrationParams.model_validate(
        {"routing": {"head": given.head, "score": given.score, "costs": _costs(run, given.costs)}}
    )
    evidence = {
        tier: answers_for_routing(
            run.table(tier),
            run.photo_set,
            run.taxonomy,
            run.decision(tier).rule,
            run.unknown_score(tier),
            run.report(tier, "latency"),
            params,
        )
        for tier in run.tiers
    }
    head = routing_head(run.taxonomy, given.head)
    for number, rate in enumerate((*PROMISES, None)):
        promise = None if rate is None else {"error_rate": rate, "otherwise": "nothing"}
        routing = {**params.routing.model_dump(), "promise": promise}
        rule, report = choose_routing(head, evidence, RoutingParams.model_validate(routing))
        if not number:
            _print_alone(head.name, evidence, report)
        if rate is not None:
            print(f"\npromised {rate:.0%}: {report.sentence}")
        else:
            told = ", ".join(f"{tier.accept_from}" for tier in rule.tiers[:-1])
            print(
                f"\nfixed thresholds {told} on calibrated probability; the last tier takes the rest"
            )
        if report.test is not None and (rate is None or report.kept):
            _print_figures(report.test)


def _costs(run: FinishedRun, text: str) -> dict[str, dict[str, float]]:
    if text == "measured":
        return {}
    each = text.split(",")
    if len(each) != len(run.tiers):
        sys.exit(f"--costs has {len(each)} values for {len(run.tiers)} tiers")
    return {t: {"milliseconds": float(c)} for t, c in zip(run.tiers, each, strict=True)}


def _print_alone(head: str, evidence: dict[str, TierEvidence], report: RoutingReport) -> None:
    print(f"\nRouting by '{head}'")
    areas = ", ".join(f"{name} {area:.4f}" for name, area in report.score_augrc.items())
    print(f"score: {report.score}. {report.score_because} (validation photos: {areas})")
    for tier, one in evidence.items():
        found, groups = one.heads[Split.TEST], one.groups[Split.TEST]
        told = _interval(by_groups(found.right, groups))
        above = found.unknown_above
        odd = 0.0 if found.unknown is None or above is None else (found.unknown > above).mean()
        print(
            f"always {tier}: {found.right.mean():.1%} right {told} of {len(groups)} test photos in"
            f" {len(np.unique(groups))} groups; {odd:.1%} called unknown; costs"
            f" {report.costs[tier]} ({one.milliseconds:.1f} ms measured)"
        )
    print(f"promises are tested on {report.calibration.groups} groups of calibration photos")


def _print_figures(found: RoutingFigures) -> None:
    shares = ", ".join(f"{name or 'nobody'} {share:.1%}" for name, share in found.answered.items())
    wrong = "none accepted"
    if found.error_rate is not None:
        wrong = f"{found.error_rate:.1%} wrong {_interval(found.error_interval)}"
    relative = found.cost.weighed(MILLISECONDS) / found.cost_of_last.weighed(MILLISECONDS)
    print(f"  accepted by {shares}: {found.accepted:.1%} in all, {wrong}")
    print(f"  mean cost {found.cost.milliseconds:.1f} ms, {relative:.0%} of always the last tier")


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"({ends[0]:.1%} to {ends[1]:.1%})"


def _kept(kept: bool | None) -> str:
    return "" if kept is None else "; kept" if kept else "; NOT KEPT"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _error(error: CalibrationError | None) -> str:
    if error is None:
        return "-"
    flag = " ABOVE" if error.is_above_chance else ""
    band = "" if error.interval is None else f" [{error.interval[0]:.3f}, {error.interval[1]:.3f}]"
    return (
        f"{error.value:.3f}{band} (perfect {error.perfect_mean:.3f}, to"
        f" {error.perfect_interval[1]:.3f}{flag})"
    )


if __name__ == "__main__":
    main()
