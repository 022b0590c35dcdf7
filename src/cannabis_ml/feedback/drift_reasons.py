"""Drift as a reason to train anew: confidence has fallen, and there is more to learn from.

Users' photos differ from training photos from the first day, and a model that is as sure of them as
before is none the worse: a difference alone fires nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cannabis_ml.feedback.release_drift import DriftFound
from cannabis_ml.feedback.retrain_reason import Reason, RetrainParams
from cannabis_ml.text import counted

MOST_VOLUNTEERED = 0.5
"""Share of answers that people judged unasked, above which nothing fires: they are those that the
model is less sure of."""

MOST_ANSWERED_BEFORE = 0.1
"""Share of photos that earlier tiers answered, above which a later one fires nothing: it gets those
that they are less sure of, and is less sure of these itself than of held-out photos as a whole."""


def drift_reasons(
    drift: Sequence[DriftFound], new_photos: int, params: RetrainParams
) -> Iterator[Reason]:
    """One reason per test: those of confidence may fire, those of embeddings are listed.

    Args:
        drift: As from `release_drift`.
        new_photos: Photos with labels that the last training did not have.
        params: How far confidence may fall, and how many new photos are worth a training.
    """
    moved = {one.tier: one for one in drift if one.head is None and one.drifted}
    for one in drift:
        if one.head is None:
            if one.drifted:
                yield _quiet(one, f"Embeddings of {one.tier} drifted ({_p(one)}).", params)
            continue
        if not one.drifted or one.before is None or one.now is None or one.high is None:
            continue
        fell = one.high < -params.accuracy_drop
        text = (
            f"Confidence of {one.tier} in '{one.head}' drifted ({_p(one)}): it promises"
            f" {one.now:.1%} right on {counted(one.photos, 'recent photo')}, against"
            f" {one.before:.1%} on photos that stand for training, a difference of"
            f" {100 * (one.now - one.before):+.1f} points"
            f" ({100 * (one.low or 0.0):+.1f} to {100 * one.high:+.1f}),"
            f" {'beyond' if fell else 'not surely beyond'} the limit of"
            f" {-100 * params.accuracy_drop:+.0f}"
        )
        if one.tier in moved:
            text += "; embeddings drifted too"
        if one.volunteered > MOST_VOLUNTEERED:
            text += (
                f"; but {one.volunteered:.0%} of these answers came because somebody judged them,"
                " and people judge what the model is less sure of: send all answers"
            )
            fell = False
        if one.answered_before > MOST_ANSWERED_BEFORE:
            text += (
                f"; but earlier tiers answered {one.answered_before:.0%} of all photos, and left"
                f" {one.tier} those that they are less sure of"
            )
            fell = False
        enough = new_photos >= params.drift_photos
        if fell and not enough:
            text += (
                f"; it takes {counted(params.drift_photos, 'new photo')} with labels to learn from,"
                f" there are {new_photos:,}"
            )
        yield Reason(
            name="drift",
            fires=fell and enough,
            text=f"{text}.",
            head=one.head,
            value=one.now - one.before,
            low=one.low,
            high=one.high,
            limit=-params.accuracy_drop,
            photos=one.photos,
        )


def _quiet(one: DriftFound, text: str, params: RetrainParams) -> Reason:
    return Reason(
        name="drift", fires=False, text=text, limit=-params.accuracy_drop, photos=one.photos
    )


def _p(one: DriftFound) -> str:
    return f"p = {one.p_value or 0.0:.3f}"
