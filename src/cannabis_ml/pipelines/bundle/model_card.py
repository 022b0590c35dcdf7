"""The model card of a bundle.

In the format of the Hugging Face hub: Markdown below a YAML head with `license`, `pipeline_tag`,
`tags` and `model-index` (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import pandas as pd
import yaml

from cannabis_ml.calibration.choices import CalibrationReport
from cannabis_ml.calibration.routing_choice import RoutingReport
from cannabis_ml.calibration.unknown_choice import UnknownReport
from cannabis_ml.evaluation.calibration_scores import CalibrationComparison
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.evaluation.reliability_scores import ReliabilityScores
from cannabis_ml.evaluation.scores import Evaluation, HeadScores, Interval
from cannabis_ml.evaluation.tables import interval_of, value_of
from cannabis_ml.inference.model_file import PAGE, ModelFile, shipped
from cannabis_ml.inference.routing import TierCost
from cannabis_ml.photo_sets.link_report import LinkReport
from cannabis_ml.pipelines.bundle.params import BundleParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import markdown_text
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe

HEADLINES = {
    "multiclass": ("accuracy", "accuracy_per_group", "macro_f1"),
    "ordinal": ("accuracy", "accuracy_per_group", "quadratic_weighted_kappa"),
    "multilabel": ("mean_average_precision", "macro_f1"),
}
"""Metrics that stand for a head, by its kind."""

TITLES = {
    "accuracy": "accuracy",
    "accuracy_per_group": "accuracy per group",
    "macro_f1": "macro F1",
    "quadratic_weighted_kappa": "quadratic weighted kappa",
    "mean_average_precision": "mean average precision",
}


@dataclass(frozen=True)
class TierTrust:
    """How far the answers of one tier can be trusted.

    Attributes:
        calibration: How its heads are calibrated.
        calibration_scores: Calibration on test photos.
        reliability: What sets, back-off and unknown score do on test photos.
        unknown: Which unknown score it has, and why.
    """

    calibration: CalibrationReport
    calibration_scores: CalibrationComparison
    reliability: ReliabilityScores
    unknown: UnknownReport


@dataclass(frozen=True)
class TierDescription:
    """Facts of one tier in the model card.

    Attributes:
        device: What it runs on.
        backbone: Name of the network, or of several joined by ` + `.
        image_size: Side of the square that it sees, in pixels.
        weights: Where its weights came from: `source`, `licence`.
        teacher: Name of the tier that it was distilled from; None: of no one.
        files: A row per model file.
        machine: What latencies were measured on.
        metrics: Scores on the test split of the file that ships.
        verdict: How its files compare with PyTorch, in words.
        trust: How far its answers can be trusted.
    """

    device: str
    backbone: str
    image_size: int
    weights: dict[str, str | None]
    teacher: str | None
    files: list[dict[str, object]]
    machine: str
    metrics: Evaluation
    verdict: str
    trust: TierTrust


def describe_files(models: dict[str, ModelFile], latency: LatencyReport) -> list[dict[str, object]]:
    """A row per model file of a tier: its kind, size and latency, and where it is the default."""
    return [
        {
            "kind": kind,
            "format": model.format,
            "quantization": model.quantization,
            "bytes": len(model.data),
            "default": _default(kind, models),
            "milliseconds": latency.files[kind].one_thread.jpeg_ms.p50 if kind != PAGE else None,
        }
        for kind, model in models.items()
    ]


def _default(kind: str, models: Mapping[str, ModelFile]) -> str:
    """Where a file is what clients take."""
    return "in web pages" if kind == PAGE else "yes" if kind == shipped(models) else ""


def machine_in_words(latency: LatencyReport) -> str:
    """What latencies were measured on, in a line."""
    return ", ".join(_machine_part(*item) for item in latency.machine.items())


@dataclass(frozen=True)
class ModelCardFacts:
    """Facts in the model card of a bundle.

    Attributes:
        bundle: Name, licence, and what no run can know.
        taxonomy: The heads.
        photos: The photo set without pixels.
        started: When the run began, ISO 8601.
        tiers: By name, smallest first.
        apart: Sentences on leaks between splits, from `apart_in_words`.
        routing: When the answer of a smaller tier is accepted.
        recipe: What the run did to keep within its minutes.
    """

    bundle: BundleParams
    taxonomy: Taxonomy
    photos: pd.DataFrame
    started: str
    tiers: dict[str, TierDescription]
    apart: str
    routing: RoutingReport
    recipe: ChosenRecipe = AS_CONFIGURED


def render(facts: ModelCardFacts) -> str:
    """Render the card as Markdown with YAML front matter."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters |= {
        "text": markdown_text,
        "share": _share,
        "number": _number,
        "cost": _cost,
        "banded": _banded,
        "error": lambda error: _number(None if error is None else error.value),
        "by_chance": lambda error: _number(None if error is None else error.perfect_interval[1]),
        "in_groups": _in_groups,
        "value_of": value_of,
        "interval_of": interval_of,
    }
    bundle, taxonomy, photos = facts.bundle, facts.taxonomy, facts.photos
    tiers, routing = facts.tiers, facts.routing
    choices = [
        choice for tier in tiers.values() for choice in tier.trust.calibration.heads.values()
    ]
    source = resources.files("cannabis_ml.pipelines.bundle").joinpath("model_card.md.j2")
    page = environment.from_string(source.read_text(encoding="utf-8")).render(
        bundle=bundle,
        heads=taxonomy.heads,
        counts=_counts(taxonomy, photos),
        splits=photos["split"].value_counts().to_dict(),
        photos=len(photos),
        apart=facts.apart,
        day=facts.started[:10],
        tiers=tiers,
        routing=routing,
        recipe=facts.recipe,
        routed=routing.test or routing.calibration,
        headlines=_headlines,
        titles=TITLES,
        best=[*tiers][-1],
        for_pages=any(file["kind"] == PAGE for tier in tiers.values() for file in tier.files),
        calibrated=any(choice.chosen != "none" for choice in choices),
        uncalibrated=any(not choice.is_calibrated for choice in choices),
    )
    head = yaml.safe_dump(
        _front_matter(bundle, taxonomy, tiers), sort_keys=False, allow_unicode=True
    )
    return f"---\n{head}---\n\n{page}"


def apart_in_words(links: LinkReport) -> str:
    """Sentences on leaks between splits: what was checked, and what was found.

    Args:
        links: From `photo_sets.groups.check_links`.
    """
    bits, difference = links.max_distance, links.max_difference
    limits = f"within {bits} bits of 64 and a difference of {difference:g}"
    if not links.looked_for:
        near = "Near-duplicates were not looked for: some may lie in several splits."
    elif links.across_splits:
        n = links.across_splits
        pairs = f"{n:,} pair{'' if n == 1 else 's'} of near-duplicates ({limits})"
        near = f"{pairs} {'lies' if n == 1 else 'lie'} in different splits: scores may be too high."
    else:
        near = f"No near-duplicates ({limits}) lie in different splits: all pairs were looked at."
    named, kept, torn = links.in_named_groups, links.kept, links.named_groups_across
    if not named:
        unchecked = (
            "The source does not give groups of photos (of one plant or burst), so whether any of"
            " these lie in several splits was not checked."
        )
        return f"{near} {unchecked}"
    which = "every photo" if named == kept else f"{named:,} of {kept:,} photos"
    rest = "" if named == kept else "; of the others that was not checked"
    lie = f"{torn:,} of these groups lie" if torn else "none of these groups lies"
    return (
        f"{near} The source gives the group (photos of one plant or burst) of {which}, and {lie}"
        f" in several splits{rest}."
    )


def _front_matter(
    bundle: BundleParams, taxonomy: Taxonomy, tiers: dict[str, TierDescription]
) -> dict[str, object]:
    results = [
        {
            "task": {"type": "image-classification", "name": head.name},
            "dataset": {"name": "test split of the run's photos", "type": "private"},
            "metrics": [
                {"type": metric, "name": f"{tier}: {TITLES[metric]}", "value": round(value, 4)}
                for tier, described in tiers.items()
                for scores in [described.metrics.heads[head.name]]
                for metric in _headlines(scores)
                if (value := value_of(scores, metric)) is not None
            ],
        }
        for head in taxonomy.heads
    ]
    scored = [result for result in results if result["metrics"]]
    index = {"model-index": [{"name": bundle.name, "results": scored}]} if scored else {}
    return {
        "license": bundle.licence,
        "library_name": "cannabis_ml",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "plants", "tflite", "onnx", "on-device"],
        **index,
    }


def _headlines(scores: HeadScores) -> list[str]:
    """Metrics of a head in the card; without those per group where each photo is a group."""
    grouped = scores.groups < scores.n
    return [m for m in HEADLINES[scores.kind] if grouped or not m.endswith("_per_group")]


def _machine_part(name: str, value: object) -> str:
    if name in ("processor", "system"):
        return str(value)
    return f"{value} cores" if name == "cores" else f"{name} {value}"


def _counts(taxonomy: Taxonomy, photos: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """Per head and class, labelled photos of the training split and of all."""
    trained = photos["split"] == Split.TRAIN
    return {
        head.name: {
            name: {"train": int(has[trained].sum()), "all": int(has.sum())}
            for name in head.class_names
            for has in [head.shows(photos, name)]
        }
        for head in taxonomy.heads
    }


def _in_groups(photos: int, groups: int) -> str:
    """`84 photos in 8 groups`."""
    counted = f"{photos:,} photo{'' if photos == 1 else 's'}"
    return f"{counted} in {groups:,} group{'' if groups == 1 else 's'}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _cost(cost: TierCost) -> str:
    """`3.85 ms, 0.1 money`: parts that are not 0."""
    parts = {"ms": cost.milliseconds, "money": cost.money, "energy": cost.energy}
    return ", ".join(f"{value:.3g} {name}" for name, value in parts.items() if value) or "0"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _banded(value: float | None, ends: Interval | None) -> str:
    """`0.900 (0.800 to 0.950)`."""
    return _number(value) + (f" ({_number(ends[0])} to {_number(ends[1])})" if ends else "")
