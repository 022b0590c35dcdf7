"""A router over the tiers of a bundle: local model files, and URLs for tiers that are elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cannabis_ml.errors import BundleError, ConfigError, PhotoError
from cannabis_ml.inference.answer import Answer, HeadAnswer
from cannabis_ml.inference.local_tier import LocalTier, tier_answer
from cannabis_ml.inference.predictor import PhotoLike, as_pixels
from cannabis_ml.inference.router import RoutedTier, Router, TierAnswer
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.photos.decode import decode_image
from cannabis_ml.taxonomy import Taxonomy

if TYPE_CHECKING:
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.remote_tier import RemoteTier

REMOTE_RUNTIME = "remote"
"""Stands for the runtime of answers of another machine that does not name its own."""


@dataclass(frozen=True)
class RouterOptions:
    """How the tiers of a bundle are asked.

    Attributes:
        remote: As for `Bundle.router`.
        workers: As for `Bundle.router`.
        threads: As for `Bundle.predictor`.
        runtime: As for `Bundle.predictor`.
    """

    remote: Mapping[str, str | RoutedTier] = field(default_factory=dict)
    workers: int = 1
    threads: int = 0
    runtime: str | None = None


def bundle_router(
    bundle: Bundle, rule: RoutingRule, options: RouterOptions | None = None
) -> Router:
    """As `Bundle.router`, by any rule.

    Args:
        bundle: Gives the tiers that are not remote.
        rule: Names the tiers, in the order in which they are asked.
        options: None: all tiers on this machine, a photo at a time.

    Raises:
        ConfigError: If a remote tier is not one of the rule's, or httpx is not installed.
        BundleError: As `Bundle.predictor`.
        ExportError: As `Bundle.predictor`.
    """
    options = options or RouterOptions()
    elsewhere, workers = options.remote, options.workers
    names = [tier.tier for tier in rule.tiers]
    strange = sorted(set(elsewhere) - set(names))
    if strange:
        raise ConfigError(
            f"{', '.join(map(repr, strange))} cannot be asked elsewhere: the routing has the tiers"
            f" {', '.join(names)}."
        )
    tiers: list[RoutedTier] = []
    for name in names:
        remote_one = elsewhere.get(name)
        if remote_one is None:
            each = [
                tier_answerer(bundle, name, rule, options.threads, options.runtime)
                for _ in range(workers)
            ]
            tiers.append(LocalTier(name, _in_turn(each), workers))
        else:
            if isinstance(remote_one, str):
                remote_one = remote_tier(bundle, name, remote_one)
            tiers.append(remote_one)
    return Router(tiers, rule)


def rule_of(bundle: Bundle, thresholds: Sequence[float] | None = None) -> RoutingRule:
    """The rule by which a bundle is routed.

    Args:
        bundle: Gives the rule, or tiers and unknown scores for a fixed one.
        thresholds: As for `Bundle.router`.

    Raises:
        BundleError: If none are given and the bundle has no rule.
        ConfigError: If they are not as many as tiers before the last, or no head can route.
    """
    own = bundle.routing
    if thresholds is None:
        if own is None:
            raise BundleError(
                f"{bundle.path} has no routing. Give thresholds, such as `routing.FIXED`"
                " (`--thresholds 0.75,0.8` on the command line), or make the bundle anew:"
                " `kedro run --pipeline=calibration`, then `kedro run --pipeline=bundle`."
            )
        return own
    if len(thresholds) != len(bundle.tiers) - 1:
        raise ConfigError(
            f"{len(thresholds)} thresholds were given; {len(bundle.tiers) - 1} are needed, one for"
            f" each of the tiers {', '.join(bundle.tiers)} but the last."
        )
    heads = [head.name for head in bundle.taxonomy.heads if head.kind != "multilabel"]
    if not heads:
        raise ConfigError("No head of the bundle is multiclass or ordinal, so none can route.")
    head = own.head if own is not None else heads[0]
    costs = {tier.tier: tier.cost for tier in own.tiers} if own is not None else {}
    fixed = RoutingRule.fixed(head, bundle.tiers, thresholds)
    tiers = [
        tier.model_copy(
            update={"unknown_above": _threshold(bundle, tier.tier), "cost": costs.get(tier.tier)}
        )
        for tier in fixed.tiers
    ]
    return fixed.model_copy(update={"tiers": tiers})


def tier_answerer(
    bundle: Bundle, tier: str, rule: RoutingRule, threads: int = 0, runtime: str | None = None
) -> Callable[[PhotoLike], TierAnswer]:
    """A function that answers photos with one tier, as a router wants it, and as a server gives it.

        answer = tier_answerer(bundle, "tier3", bundle.routing)
        body = json.dumps(answer(photo).as_json())  # what `RemoteTier` reads

    Args:
        bundle: Gives the model file.
        tier: Name of the tier.
        rule: Names the head and the score.
        threads: As for `Bundle.predictor`.
        runtime: As for `Bundle.predictor`.

    Returns:
        Raises `PhotoError` and `UnreadableError` for what is not a photo, or a file that cannot be
        read. To be called by one thread at a time.

    Raises:
        BundleError: As `Bundle.predictor`.
        ExportError: As `Bundle.predictor`.
    """
    predictor = bundle.predictor(tier, threads=threads, runtime=runtime)
    unknown = bundle.unknown(tier)

    def answer(photo: PhotoLike) -> TierAnswer:
        try:
            pixels = as_pixels(photo, predictor.image_size)
        except OSError as error:  # the router would take it for a tier that is away
            raise PhotoError(f"{photo!s} cannot be read: {error.strerror or error}.") from error
        outputs = predictor.outputs([pixels])
        return tier_answer(predictor.answer(outputs), outputs, predictor.decision, rule, unknown)

    return answer


def _in_turn(
    answerers: Sequence[Callable[[PhotoLike], TierAnswer]],
) -> Callable[[PhotoLike], TierAnswer]:
    """As each of them, for as many threads at once: who calls takes one that is free."""
    free: SimpleQueue[Callable[[PhotoLike], TierAnswer]] = SimpleQueue()
    for one in answerers:
        free.put(one)

    def answer(photo: PhotoLike) -> TierAnswer:
        one = free.get()
        try:
            return one(photo)
        finally:
            free.put(one)

    return answer


def remote_tier(bundle: Bundle, name: str, url: str) -> RemoteTier:
    """A tier of a bundle that another machine answers for.

    Args:
        bundle: Gives the taxonomy of the answers.
        name: Of the tier.
        url: Takes a photo as the body of a POST, and answers `TierAnswer.as_json()`.

    Raises:
        ConfigError: If httpx is not installed.
    """
    from cannabis_ml.inference.remote_tier import RemoteTier, read_answer

    def decode(value: Any) -> TierAnswer:
        return read_answer(value, answer_from_json(value["answer"], name, bundle.taxonomy))

    return RemoteTier(name, url, encode=as_file, decode=decode)


def as_file(photo: PhotoLike) -> bytes:
    """A photo as the bytes of a file: as it is where it is one, else as PNG, which loses nothing.

    Raises:
        PhotoError: If it is nothing that `Predictor.predict` takes, or cannot be read.
    """
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | Path):
        try:
            return Path(photo).read_bytes()
        except OSError as error:
            raise PhotoError(f"{photo} cannot be read: {error.strerror or error}.") from error
    pixels = decode_image(photo) if isinstance(photo, Image.Image) else as_pixels(photo, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def answer_from_json(value: Mapping[str, Any], tier: str, taxonomy: Taxonomy) -> Answer:
    """Read what `Answer.as_json` wrote on another machine.

    Args:
        value: With `heads`: by name `answer`, `probs` by class, and `raw`, `aleatoric` and
            `epistemic` where they are known.
        tier: Name of the tier that was asked.
        taxonomy: The heads that it must answer.

    Returns:
        Without embedding and attention map. Whether its probabilities were calibrated is
        not known.

    Raises:
        ValueError: If heads or classes are others than the taxonomy's, or a number is not finite.
    """
    heads = {}
    if set(value["heads"]) != {head.name for head in taxonomy.heads}:
        raise ValueError(f"heads {', '.join(map(repr, value['heads']))} are not the taxonomy's")
    decided = {name: given["answer"] for name, given in value["heads"].items()}
    for head in taxonomy.heads:
        given = value["heads"][head.name]
        answer = decided[head.name]
        claimed = answer if isinstance(answer, list) else [] if answer is None else [answer]
        if isinstance(answer, list) != (head.kind == "multilabel") or not (
            set(claimed) <= set(head.class_names) == set(given["probs"])
        ):
            raise ValueError(f"classes of '{head.name}' are not the taxonomy's")
        probs = _numbers(given["probs"], head.class_names)
        heads[head.name] = HeadAnswer(
            head=head,
            probs=probs,
            raw=_numbers(given["raw"], head.class_names) if "raw" in given else probs,
            decided=answer,
            parent_decided=decided.get(head.parent or ""),
            aleatoric=given.get("aleatoric"),
            epistemic=given.get("epistemic"),
        )
    return Answer(heads, tier=tier, runtime=str(value.get("runtime", REMOTE_RUNTIME)))


def _numbers(by_class: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    values = np.array([by_class[name] for name in names], np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a probability is not finite")
    return values


def _threshold(bundle: Bundle, tier: str) -> float | None:
    unknown = bundle.unknown(tier)
    return None if unknown is None or np.isinf(unknown.threshold) else float(unknown.threshold)
