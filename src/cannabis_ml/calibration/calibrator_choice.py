"""Choose a calibrator per head: by repeated cross-validation, the simplest that does as well.

Calibration photos are few, and what is fitted to them may make probabilities worse. So leaving them
as they are is always among the candidates, and a candidate has to be better on photos that it was
not fitted to, by more than chance explains. Of one number that changes no order of classes, such as
a temperature, being better is enough where there are photos enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from cannabis_ml.calibration import calibrator_fits as fits
from cannabis_ml.calibration.choices import (
    POOL_BELOW,
    Candidate,
    CandidateName,
    Choice,
    ChoiceParams,
)
from cannabis_ml.calibration.examples import Examples, calibrated, examples_of
from cannabis_ml.evaluation.calibration_scores import log_losses
from cannabis_ml.inference.calibrators import Calibrator, Uncalibrated
from cannabis_ml.taxonomy import Head, Kind, Taxonomy

NONE: Literal["none"] = "none"


class _Method(NamedTuple):
    name: CandidateName
    fit: Callable[[Examples], Calibrator]
    numbers: int | None


def choose_calibrators(
    taxonomy: Taxonomy,
    outputs: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    params: ChoiceParams | None = None,
) -> dict[str, Choice]:
    """Choose and fit a calibrator for every head of one model file.

    Args:
        taxonomy: The heads.
        outputs: What the file gives for N calibration photos, see `Decision.decide`.
        truth: Labels of these photos, as from `Taxonomy.encode`.
        groups: (N,) a number or name per photo; photos of a group stay together and count as one.
            None where each photo is a group of its own.
        params: How to choose.

    Returns:
        Per head in the taxonomy's order. The same arguments give the same choice.
    """
    return {
        head.name: choose(head, examples_of(head, taxonomy, outputs, truth, groups), params)
        for head in taxonomy.heads
    }


def choose(head: Head, examples: Examples, params: ChoiceParams | None = None) -> Choice:
    """Choose and fit a calibrator for one head.

    Of the candidates whose cross-validated log loss is within one standard error of the lowest,
    the one that fits the fewest numbers is taken. It is the standard error of the difference to
    the lowest, over groups: the loss itself varies far more from photo to photo than what
    calibration changes of it. Where that would be `none`, a calibrator of one number with a lower
    loss is taken all the same from `one_number_groups` on: on PlantVillage, 165 groups, `none` left
    three heads above the smooth ECE that chance explains and a temperature none of them; on the
    sample photos, 76 groups, a temperature made the log loss of two heads worse.

    Args:
        head: Its kind decides which candidates there are.
        examples: Labelled photos, as from `examples_of`.
        params: How to choose.
    """
    params = params or ChoiceParams()
    groups = examples.group_count
    methods, refused = [], {}
    for method in methods_for(head.kind, examples.classes, params.pool_below):
        reason = _refusal(method.name, groups, params)
        if reason is None:
            methods.append(method)
        else:
            refused[method.name] = reason
    losses = _losses_of_groups(examples, methods, params)
    chosen, results = _simplest(methods, losses, groups >= params.one_number_groups)
    candidates = [
        results.get(m.name) or Candidate(name=m.name, numbers=m.numbers, refused=refused[m.name])
        for m in methods_for(head.kind, examples.classes, params.pool_below)
    ]
    return Choice(
        head=head.name,
        kind=head.kind,
        photos=len(examples),
        groups=groups,
        candidates=candidates,
        chosen=chosen.name,
        why=_why(chosen.name, results, groups, params),
        supports=_supports(len(examples), groups, results, refused),
        is_calibrated=any(name != NONE for name in losses),
        calibrator=chosen.fit(examples),
    )


def methods_for(kind: Kind, classes: int, pool_below: int = POOL_BELOW) -> list[_Method]:
    """Every candidate of a kind of head, those that fit the fewest numbers first."""
    none = _Method(NONE, lambda _: Uncalibrated(), 0)
    if kind == "ordinal":
        fit = fits.fit_ordinal
        return [
            none,
            _Method("ordinal_scale", partial(fit, shifts="none"), 1),
            _Method("ordinal_shift", partial(fit, shifts="one"), 2),
            _Method("ordinal_shifts", partial(fit, shifts="each"), classes),
        ]
    if kind == "multilabel":
        affine = partial(fits.fit_affine, pool_below=pool_below)
        return [
            none,
            _Method("affine_pooled", partial(affine, pooled=True), 2),
            _Method("affine", partial(affine, pooled=False), 2 * classes),
        ]
    return [
        none,
        _Method("temperature", fits.fit_temperature, 1),
        _Method("platt", fits.fit_platt, 2),
        _Method("beta", fits.fit_beta, 3),
        _Method("svs", partial(fits.fit_structured, matrix=False), 2 * classes + 1),
        _Method("sms", partial(fits.fit_structured, matrix=True), classes * (classes + 1) + 1),
        _Method("isotonic", fits.fit_isotonic, None),
    ]


def held_out(
    examples: Examples,
    fit: Callable[[Examples], Calibrator],
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Probabilities of photos by calibrators that were fitted without their groups.

    Args:
        examples: Labelled photos of at least two groups.
        fit: Such as `fits.fit_temperature`.
        folds: Parts that groups are divided into; no more than there are groups.
        repeats: How often they are divided anew.
        seed: Of the divisions.

    Returns:
        float64 (repeats, N, K).
    """
    probs = np.empty((repeats, *examples.probs.shape))
    random = np.random.default_rng(seed)
    _, which = np.unique(examples.groups, return_inverse=True)
    groups = int(which.max()) + 1
    folds = min(folds, groups)
    for repeat in range(repeats):
        fold = (random.permutation(groups) % folds)[which]
        for part in range(folds):
            held = fold == part
            probs[repeat, held] = calibrated(examples.at(held), fit(examples.at(~held)))
    return probs


def _losses_of_groups(
    examples: Examples, methods: list[_Method], params: ChoiceParams
) -> dict[CandidateName, np.ndarray]:
    """Held-out log loss of each group, float64 (G,), by method."""
    if not len(examples):
        return {}
    _, which, sizes = np.unique(examples.groups, return_inverse=True, return_counts=True)
    if len(methods) == 1:
        divided = {methods[0].name: examples.probs[None]}
    else:
        divided = {
            m.name: held_out(examples, m.fit, params.folds, params.repeats, params.seed)
            for m in methods
        }
    losses_by_method: dict[CandidateName, np.ndarray] = {}
    for name, repeats in divided.items():
        losses = np.mean([log_losses(probs, examples.labels) for probs in repeats], axis=0)
        losses_by_method[name] = np.bincount(which, weights=losses) / sizes
    return losses_by_method


def _simplest(
    methods: list[_Method], losses: dict[CandidateName, np.ndarray], one_number_wins: bool
) -> tuple[_Method, dict[CandidateName, Candidate]]:
    if not losses:
        return methods[0], {NONE: Candidate(name=NONE, numbers=0)}
    best = min(losses, key=lambda name: losses[name].mean())
    results, within = {}, []
    for method in methods:
        own = losses[method.name]
        more = own - losses[best]
        error = float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else None
        results[method.name] = Candidate(
            name=method.name,
            numbers=method.numbers,
            log_loss=float(own.mean()),
            more_than_best=float(more.mean()),
            standard_error=error,
        )
        if more.mean() <= (error or 0.0):
            within.append(method)
    if one_number_wins and within[0].name == NONE:
        unchanged = losses[NONE].mean()
        within.sort(key=lambda m: not (m.numbers == 1 and losses[m.name].mean() < unchanged))
    return within[0], results


def _refusal(name: CandidateName, groups: int, params: ChoiceParams) -> str | None:
    if name == NONE:
        return None
    if params.candidates is not None and name not in params.candidates:
        return "not among the candidates that are configured"
    if groups < params.fewest_groups:
        return (
            f"{groups:,} groups of photos; nothing is fitted to fewer than {params.fewest_groups:,}"
        )
    if name in ("svs", "sms") and groups < params.structured_groups:
        return f"{groups:,} groups of photos; its gain is shown from {params.structured_groups} on"
    if name == "isotonic" and groups < params.isotonic_groups:
        return (
            f"{groups:,} groups of photos; isotonic regression makes probabilities worse with"
            f" fewer than about {params.isotonic_groups:,}"
        )
    return None


def _why(
    chosen: CandidateName,
    results: dict[CandidateName, Candidate],
    groups: int,
    params: ChoiceParams,
) -> str:
    own, none = results[chosen], results[NONE]
    if own.log_loss is None or none.log_loss is None:
        return "Not calibrated: no photo has a label."
    if len(results) == 1:
        reason = "no other candidate took part"
        if groups < params.fewest_groups:
            reason = f"{groups:,} groups of photos, {params.fewest_groups:,} are needed"
        return f"Not calibrated: {reason}."
    best = min(results.values(), key=lambda one: one.more_than_best or 0.0)
    if best.name == NONE:
        return "Probabilities stay as they are: no calibrator lowers the held-out log loss."
    chance = f"{best.name} lowers it by {own.more_than_best:.4f} more, within one standard error"
    chance += f" ({own.standard_error:.4f})" if own.standard_error is not None else ""
    if chosen == NONE:
        return f"Probabilities stay as they are, with log loss {own.log_loss:.4f}: {chance}."
    reason = f"{chosen} lowers the held-out log loss from {none.log_loss:.4f} to {own.log_loss:.4f}"
    if (none.more_than_best or 0.0) <= (none.standard_error or 0.0):
        reason += ", which may be chance; one number that keeps the order of classes risks little"
    return f"{reason}." if best.name == chosen else f"{reason}; {chance}, and is less simple."


def _supports(
    photos: int,
    groups: int,
    results: dict[CandidateName, Candidate],
    refused: dict[CandidateName, str],
) -> str:
    text = f"{photos:,} photos in {groups:,} groups"
    # Of the simplest candidate that is not the best itself.
    error = next((one.standard_error for one in results.values() if one.standard_error), None)
    if error is not None:
        text += f": calibration that changes the log loss by less than about {2 * error:.3f} nats"
        text += " cannot be distinguished from chance"
    by_reason = {
        name: reason for name, reason in refused.items() if not reason.startswith("not among")
    }
    if by_reason:
        text += f". Not fitted to so few: {', '.join(by_reason)}"
    return f"{text}."
