"""Golden photos, model card and bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from cannabis_ml.calibration.choices import CalibrationReport
from cannabis_ml.calibration.routing_choice import RoutingReport
from cannabis_ml.calibration.unknown_choice import UnknownReport
from cannabis_ml.evaluation.calibration_scores import CalibrationComparison
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.evaluation.parity import ParityReport
from cannabis_ml.evaluation.reliability_scores import ReliabilityScores
from cannabis_ml.evaluation.scores import Evaluation
from cannabis_ml.feedback.training_record import TrainingRecord, record_of
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import BundleContents
from cannabis_ml.inference.golden_rights import PhotoRights
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.reliability import Reliability
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.photo_sets.link_report import DivisionCheck
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.bundle.model_card import (
    ModelCardFacts,
    TierDescription,
    TierTrust,
    apart_in_words,
    describe_files,
    machine_in_words,
    render,
)
from cannabis_ml.pipelines.bundle.params import BundleParams
from cannabis_ml.publishing.params import PublishingParams
from cannabis_ml.publishing.rights import rights_of
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Taxonomy
from cannabis_ml.tiers import tier_named
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe


@dataclass(frozen=True)
class TierContents:
    """What a bundle holds of one tier.

    Attributes:
        models: Files: `float`, and `quantized` and `page` if there are such.
        reliability: Bands, prediction sets and back-off.
        unknown: Its unknown score.
    """

    models: dict[str, ModelFile]
    reliability: Reliability
    unknown: UnknownScore


@dataclass(frozen=True)
class GoldenPhotos:
    """Photos whose answers every client must reproduce.

    Attributes:
        pixels: Each uint8 RGB (height, width, 3), as stored.
        labels: By head with one class per photo, the class of each, None where it has no label;
            heads without any label are left out.
        rights: Source and licence of each, and whom to name.
    """

    pixels: list[np.ndarray]
    labels: dict[str, list[str | None]]
    rights: list[PhotoRights]


def pick_golden_photos(
    photo_set: PhotoSet,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    bundle: BundleParams,
    publishing: PublishingParams,
) -> GoldenPhotos:
    """Choose the golden photos, of as many classes as possible.

    Args:
        photo_set: Stored photos; chosen from the test split, or from all if that is empty.
        photos: The table that it was made from, with what sources tell of licences.
        taxonomy: Classes are those of its first head that is not multilabel.
        bundle: Number of golden photos, and the seed.
        publishing: Licences of sources.

    Raises:
        PublishingError: If the table is of another run than the photo set.
    """
    random = np.random.default_rng(bundle.seed)
    test = photo_set.rows_of(Split.TEST)
    rows = random.permutation(test if len(test) else len(photo_set))
    chosen = rows[_in_turn(photo_set.labels(), rows, taxonomy)][: bundle.golden_photos]
    codes = photo_set.encode(taxonomy, chosen)
    ids = photo_set.labels()["photo_id"].astype(str).to_numpy()[chosen]
    labels = {
        head.name: [None if k == MISSING else head.class_names[k] for k in codes[head.name]]
        for head in taxonomy.heads
        if head.kind != "multilabel"
    }
    return GoldenPhotos(
        pixels=[photo_set.pixels(row) for row in chosen],
        labels={name: found for name, found in labels.items() if any(found)},
        rights=rights_of(photos, publishing.licences).of(list(ids)).records(),
    )


def describe_tier(
    tier: str,
    models: dict[str, ModelFile],
    file_metrics: Evaluation,
    parity: ParityReport,
    latency: LatencyReport,
    trust: TierTrust,
) -> TierDescription:
    """Collect the facts of one tier for the model card.

    Args:
        tier: Its name.
        models: Its files: `float`, and `quantized` and `page` if there are such.
        file_metrics: Metrics on the test split of the file that ships.
        parity: Comparison of its files with PyTorch.
        latency: Latency of its files.
        trust: From `collect_trust`.
    """
    card, about = models["float"].card, tier_named(tier)
    return TierDescription(
        device=about.device,
        backbone=card.backbone_in_words,
        image_size=card.image_size,
        weights=card.weights or {},
        teacher=about.teacher if card.taught else None,
        files=describe_files(models, latency),
        machine=machine_in_words(latency),
        metrics=file_metrics,
        verdict=parity.in_words,
        trust=trust,
    )


def collect_trust(
    calibrator_choices: CalibrationReport,
    calibration_scores: CalibrationComparison,
    reliability_scores: ReliabilityScores,
    unknown_report: UnknownReport,
) -> TierTrust:
    """Put together how far the answers of one tier can be trusted.

    Args:
        calibrator_choices: How its heads are calibrated.
        calibration_scores: Calibration on test photos.
        reliability_scores: What sets, back-off and unknown score do on test photos.
        unknown_report: Which unknown score it has, and why.
    """
    return TierTrust(calibrator_choices, calibration_scores, reliability_scores, unknown_report)


def collect_tier(
    calibrated_models: dict[str, ModelFile],
    reliability: Reliability,
    unknown_score: UnknownScore,
) -> TierContents:
    """Put together what the bundle holds of one tier.

    Args:
        calibrated_models: Its files: `float`, and `quantized` and `page` if there are such.
        reliability: Bands, prediction sets and back-off.
        unknown_score: Its unknown score.
    """
    return TierContents(calibrated_models, reliability, unknown_score)


def write_model_card(
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    bundle: BundleParams,
    started: str,
    division_check: DivisionCheck,
    routing_report: RoutingReport,
    chosen_recipe: ChosenRecipe = AS_CONFIGURED,
    **tiers: TierDescription,
) -> str:
    """Write the model card.

    Args:
        photo_set: Photos that the models were trained and tested on.
        taxonomy: The heads.
        bundle: Name, licence and texts.
        started: Time of the run, ISO 8601.
        division_check: Which leaks between splits were checked for, and what was found.
        routing_report: When the answer of a smaller tier is accepted.
        chosen_recipe: What the run did to keep within its minutes.
        **tiers: From `describe_tier`, by the names of the tiers, smallest first.

    Returns:
        Markdown with YAML front matter, as on the Hugging Face hub.
    """
    apart = apart_in_words(division_check.links)
    photos = photo_set.labels()
    facts = ModelCardFacts(
        bundle, taxonomy, photos, started, tiers, apart, routing_report, chosen_recipe
    )
    return render(facts)


def assemble(
    golden_photos: GoldenPhotos,
    model_card: str,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    bundle: BundleParams,
    started: str,
    tracking_run: str | None,
    routing: RoutingRule,
    **tiers: TierContents,
) -> BundleContents:
    """Collect the contents of the bundle, which the catalog writes as a folder and a `.zip`.

    Args:
        golden_photos: From `pick_golden_photos`.
        model_card: From `write_model_card`.
        photo_set: Photos that the models were trained on; its fingerprint is recorded.
        taxonomy: The heads.
        bundle: The name.
        started: Time of the run, ISO 8601.
        tracking_run: MLflow's id of this run.
        routing: Which tier's answer is accepted.
        **tiers: From `collect_tier`, by the names of the tiers, smallest first.
    """
    return BundleContents(
        name=bundle.name,
        created=started,
        taxonomy=taxonomy,
        tiers={name: tier.models for name, tier in tiers.items()},
        photos=golden_photos.pixels,
        golden_labels=golden_photos.labels,
        golden_rights=golden_photos.rights,
        model_card=model_card,
        run=tracking_run,
        photo_set_fingerprint=photo_set.fingerprint,
        reliability={name: tier.reliability for name, tier in tiers.items()},
        unknown={name: tier.unknown for name, tier in tiers.items()},
        routing=routing,
    )


def record_training(
    bundle: Bundle,
    taxonomy: Taxonomy,
    started: str,
    ingested_feedback: pd.DataFrame,
    **file_metrics: Evaluation,
) -> TrainingRecord:
    """Record what this training rested on: the counts of feedback start anew from there.

    Args:
        bundle: What the training made.
        taxonomy: The heads.
        started: Time of the run, ISO 8601 in UTC.
        ingested_feedback: Photos of feedback that ingestion was given.
        **file_metrics: Scores on the test split of the file that ships, by tier.
    """
    return record_of(
        datetime.fromisoformat(started),
        bundle.manifest.content_sha256,
        taxonomy,
        ingested_feedback,
        file_metrics,
    )


def _in_turn(labels: pd.DataFrame, rows: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Order of the rows in which classes alternate; unlabelled photos come last."""
    head = next((h for h in taxonomy.heads if h.kind != "multilabel"), None)
    if head is None:
        return np.arange(len(rows))
    classes = labels[head.name].iloc[rows].reset_index(drop=True)
    order = {name: place for place, name in enumerate(head.class_names)}
    turn = classes.groupby(classes).cumcount()
    table = pd.DataFrame({"turn": turn, "place": classes.map(order)})
    table.loc[classes.isna(), "turn"] = len(rows)
    return table.sort_values(["turn", "place"], kind="stable").index.to_numpy()
