"""How true the confidence of a finished run is, and what routing by it is worth. Trains nothing.

    python tests/benchmarks/bench_calibration.py DATA [--head HEAD] [--costs 5,10,100]

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

from finished_run import FinishedRun, Photos
from machine import machine

from cannabis_ml.calibration.backoff import fit_backoff
from cannabis_ml.calibration.conformal import fit_sets
from cannabis_ml.calibration.promise import (
    MILLISECONDS,
    RoutingFigures,
    TierCost,
    judge_routing,
    promise_routing,
)
from cannabis_ml.calibration.tier_answers import RoutedHead, choose_score, routed_head, routing_head
from cannabis_ml.calibration.unknown import DEFAULT, fit_unknown, with_threshold
from cannabis_ml.evaluation.calibration_scores import CalibrationError, CalibrationScores
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.ranking import score_ranking
from cannabis_ml.evaluation.set_scores import score_sets
from cannabis_ml.inference.confidence import confidence_scores
from cannabis_ml.inference.outputs import EMBEDDING, EPISTEMIC
from cannabis_ml.inference.routing import FIXED, RoutingRule
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head

PROMISES = (0.05, 0.1, 0.2)
COVERAGES = (0.6, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of data of a finished run")
    parser.add_argument("--head", help="that routes; default: the first with one answer")
    parser.add_argument("--costs", default="5,10,100", help="of tiers, milliseconds per photo")
    parser.add_argument("--alpha", type=float, default=0.1, help="of prediction sets")
    given = parser.parse_args()
    run = FinishedRun(given.data)
    print(machine(("numpy", "scipy", "scikit-learn")))
    print_judged(run)
    print_ranking(run)
    print_sets(run, given.alpha)
    print_backoff(run)
    costs = [TierCost(float(cost)) for cost in given.costs.split(",")]
    print_routing(run, routing_head(run.taxonomy, given.head), costs)


def print_judged(run: FinishedRun) -> None:
    """Losses and errors of calibration, before and after, with what the issue aims at."""
    print("\nJudged on test photos, before -> after calibration")
    print("(errors: value, mean and upper end of what a perfectly calibrated model gets by chance)")
    missed = []
    for tier in run.tiers:
        scores, choices = run.scores(tier), run.choices(tier)
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
    head: Head, decided: np.ndarray, photos: Photos
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether answers are right, whether they have a label, and groups; of attributes (N, K)."""
    truth = photos.truth[head.name]
    if head.kind != "multilabel":
        return decided == truth, truth != MISSING, photos.groups
    groups = np.broadcast_to(photos.groups[:, None], truth.shape)
    return decided == (truth == 1), ~np.isnan(truth), groups


def print_sets(run: FinishedRun, alpha: float) -> None:
    """Coverage and size of prediction sets."""
    print(f"\nPrediction sets that hold the truth of {1 - alpha:.0%} of new photos, on test photos")
    for tier in run.tiers:
        decision = run.decision(tier)
        known, new = run.photos(tier, Split.CALIBRATION), run.photos(tier, Split.TEST)
        fitted = fit_sets(
            decision.calibrated(known.outputs),
            decision.decide(known.outputs),
            known.truth,
            known.groups,
            run.taxonomy,
            alpha=alpha,
        )
        decided = decision.decide(new.outputs)
        sets = fitted.sets.apply(decision.calibrated(new.outputs), decided, run.taxonomy)
        for name, one in score_sets(sets, new.truth, new.groups, run.taxonomy).items():
            if not one["n"]:
                continue
            low, high = one["coverage_interval"]
            held = "" if high >= 1 - alpha else "  BELOW WHAT WAS PROMISED"
            print(
                f"  {tier}, {name:16}{one['coverage']:.1%} ({low:.1%} to {high:.1%}) of"
                f" {one['n']}, mean size {one['mean_size']:.2f}, one class in"
                f" {one['single']:.0%}; by {fitted.report[name].groups} groups{held}"
            )


def print_backoff(run: FinishedRun, alpha: float = 0.05) -> None:
    """Risk of a wrong branch where a head backs off to its parent."""
    heads = {head.name: head for head in run.taxonomy.heads}
    chains = [
        [head.parent, head.name]
        for head in run.taxonomy.heads
        if head.parent and "multilabel" not in (head.kind, heads[head.parent].kind)
    ]
    for chain in chains:
        print(f"\nBack-off from {chain[1]} to {chain[0]}, wrong branch promised below {alpha:.0%}")
        for tier in run.tiers:
            known, new = run.photos(tier, Split.CALIBRATION), run.photos(tier, Split.TEST)
            confidence, right, groups = _chain(run, tier, known, chain)
            fitted = fit_backoff(chain, confidence, right, groups, alpha)
            confidence, right, groups = _chain(run, tier, new, chain)
            depth = fitted.rule.depth(confidence)
            wrong = ~np.logical_and.accumulate(right, axis=1)[np.arange(len(depth)), depth]
            wrong &= depth >= 0
            low, high = by_groups(wrong, groups) or (0.0, 1.0)
            shares = ", ".join(
                f"{name} {np.mean(depth == level):.0%}"
                for level, name in [*enumerate(chain), (-1, "none")]
            )
            print(
                f"  {tier}: wrong branch {wrong.mean():.1%} ({low:.1%} to {high:.1%}) of"
                f" {len(wrong)}; answered by {shares}. {fitted.because}"
            )


def _chain(
    run: FinishedRun, tier: str, photos: Photos, chain: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    decision = run.decision(tier)
    probs, decided = decision.calibrated(photos.outputs), decision.decide(photos.outputs)
    rows = np.arange(len(photos.groups))
    known = np.all([photos.truth[name] != MISSING for name in chain], axis=0)
    confidence = np.stack(
        [
            np.where(decided[n] == MISSING, np.nan, probs[n][rows, decided[n]].astype(np.float64))
            for n in chain
        ],
        axis=1,
    )
    right = np.stack([decided[name] == photos.truth[name] for name in chain], axis=1)
    return confidence[known], right[known], photos.groups[known]


def print_routing(run: FinishedRun, head: Head, costs: list[TierCost]) -> None:
    """Promised and fixed routings on test photos."""
    print(f"\nRouting by '{head.name}', costs {', '.join(map(str, costs))} for {run.tiers}")
    splits = {split: routed(run, head, split) for split in (*Split,) if split != Split.TRAIN}
    design, groups = splits[Split.VALIDATION]
    chosen = choose_score(design, groups)
    areas = ", ".join(f"{name} {area:.4f}" for name, area in chosen.augrc.items())
    print(f"score: {chosen.score}. {chosen.because} (validation photos: {areas})")
    answers = {
        split: (
            [t.by(n, chosen.score, c) for t, n, c in zip(tiers, run.tiers, costs, strict=True)],
            g,
        )
        for split, (tiers, g) in splits.items()
    }
    tested, new = answers[Split.CALIBRATION], answers[Split.TEST]
    for tier in new[0]:
        told = by_groups(tier.right, new[1]) or (0.0, 1.0)
        print(
            f"always {tier.tier}: {tier.right.mean():.1%} right ({told[0]:.1%} to {told[1]:.1%}) of"
            f" {len(tier.right)} test photos; {1 - tier.known.mean():.1%} called unknown"
        )
    for rate in PROMISES:
        found = promise_routing(
            head.name,
            *tested,
            error_rate=rate,
            score=chosen.score,
            design=answers[Split.VALIDATION],
        )
        print(f"\npromised {rate:.0%}: {found.told}")
        if found.kept:
            _print_figures(judge_routing(found.rule, *new))
    if len(run.tiers) == len(FIXED) + 1:
        fixed = RoutingRule.fixed(head.name, run.tiers)
        sure = [
            t.by(n, "max_probability", c)
            for t, n, c in zip(splits[Split.TEST][0], run.tiers, costs, strict=True)
        ]
        print("\nfixed thresholds 0.75, 0.80 on the calibrated probability, tier 3 takes the rest")
        _print_figures(judge_routing(fixed, sure, new[1]))


def routed(run: FinishedRun, head: Head, split: Split) -> tuple[list[RoutedHead], np.ndarray]:
    """How every tier answers a head, with unknown scores, and groups of the same photos."""
    found, groups, ids = [], np.zeros(0), None
    for tier in run.tiers:
        photos = run.photos(tier, split)
        photos = photos.at(np.flatnonzero(photos.truth[head.name] != MISSING))
        if ids is not None and not np.array_equal(ids, photos.ids):
            sys.exit(f"{tier} answered other photos of the {split} split than {run.tiers[0]}")
        ids, groups = photos.ids, photos.groups
        unknown = None
        if EMBEDDING in photos.outputs:
            training = run.photos(tier, Split.TRAIN)
            fitted = fit_unknown(DEFAULT[0], head.name, training.outputs, training.truth[head.name])
            known = run.photos(tier, Split.CALIBRATION)
            unknown = with_threshold(fitted, known.outputs, known.groups)
        found.append(
            routed_head(head, photos.outputs, photos.truth[head.name], run.decision(tier), unknown)
        )
    return found, groups


def _print_figures(found: RoutingFigures) -> None:
    shares = ", ".join(f"{name or 'nobody'} {share:.1%}" for name, share in found.answered.items())
    wrong = "none accepted"
    if found.error_rate is not None:
        low, high = found.error_interval or (0.0, 1.0)
        wrong = f"{found.error_rate:.1%} wrong ({low:.1%} to {high:.1%})"
    relative = found.cost.weighed(MILLISECONDS) / found.cost_of_last.weighed(MILLISECONDS)
    print(f"  accepted by {shares}: {found.accepted:.1%} in all, {wrong}")
    print(f"  mean cost {found.cost.milliseconds:.1f} ms, {relative:.0%} of always the last tier")


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
