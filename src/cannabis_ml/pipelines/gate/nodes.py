"""Answers of champion and challenger, the evidence, the decision and what follows from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cannabis_ml.datasets.champion import Candidate
from cannabis_ml.errors import BundleError
from cannabis_ml.evaluation.comparison.verdict import (
    Cost,
    GateReport,
    TierEvidence,
    first_champion,
    judge_challenger,
    the_champion_itself,
)
from cannabis_ml.evaluation.judged_photos import evenly_spaced
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.evaluation.predictions import groups_of, predictions_of
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.model_file import ModelFile, shipped
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.decode import UnreadableError, decode
from cannabis_ml.pipelines.gate.params import GateStageParams
from cannabis_ml.promotion.records import Standing
from cannabis_ml.splits import Split

logger = logging.getLogger(__name__)

UNLABELLED = "unlabelled"
"""Stands in the column `split` of photos outside the photo set."""


def answer_as_champion(
    tier: str,
    champion: Bundle | None,
    bundle: Bundle,
    photo_set: PhotoSet,
    unlabelled_photos: list[Path],
    gate: GateStageParams,
) -> pd.DataFrame:
    """Answer test photos and photos without labels with the champion's file that ships.

    Args:
        tier: Name of the tier.
        champion: What is in production; None where nothing is yet.
        bundle: The challenger; where it is the champion itself, nothing is answered.
        photo_set: Stored photos; of the test split.
        unlabelled_photos: Paths.
        gate: How many of each.

    Returns:
        One row per photo: `photo_id`, `split`, and the outputs of the file; no row where there is
        nothing to compare.
    """
    if _nothing_to_compare(tier, champion, bundle):
        return _empty()
    assert champion is not None
    predictor = champion.predictor(tier)
    rows = evenly_spaced(photo_set.rows_of(Split.TEST), gate.photos)
    table = photo_set.labels("photo_id", "split").iloc[rows].reset_index(drop=True)
    outputs = [predictor.outputs([photo_set.pixels(row)], batch_size=1) for row in rows]
    tables = [predictions_of(table, outputs)] if len(rows) else []
    return _joined([*tables, *_unlabeled(champion, tier, unlabelled_photos, gate)])


def answer_as_challenger(
    tier: str,
    bundle: Bundle,
    models: dict[str, ModelFile],
    file_outputs: pd.DataFrame,
    unlabelled_photos: list[Path],
    gate: GateStageParams,
) -> pd.DataFrame:
    """The challenger's answers: those that calibration got for test photos, and new ones.

    Args:
        tier: Name of the tier.
        bundle: The challenger.
        models: Files of the tier, which the bundle must hold.
        file_outputs: Of the file that ships, on photos of the photo set.
        unlabelled_photos: Paths.
        gate: How many of them.

    Returns:
        As `answer_as_champion`.

    Raises:
        BundleError: If the files were made anew since the bundle was.
    """
    entry = bundle.manifest.tiers[tier]
    if entry.all[entry.ships].sha256 != models[shipped(models)].sha256:
        raise BundleError(
            f"{bundle.path} holds another file of {tier} than was calibrated last. Bundle it anew:"
            " kedro run --pipelines=bundle,gate."
        )
    test = file_outputs[file_outputs["split"] == Split.TEST]
    return _joined([test, *_unlabeled(bundle, tier, unlabelled_photos, gate)])


def gather_evidence(
    tier: str,
    champion: Bundle | None,
    bundle: Bundle,
    champion_outputs: pd.DataFrame,
    challenger_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    latency: LatencyReport,
    gate: GateStageParams,
) -> TierEvidence:
    """Compare the answers of both on the same photos.

    Args:
        tier: Name of the tier.
        champion: What is in production, or None.
        bundle: The challenger.
        champion_outputs: From `answer_as_champion`.
        challenger_outputs: From `answer_as_challenger`.
        photo_set: Labels and groups of the test photos.
        latency: Of the challenger's files, on this machine.
        gate: How sure the comparison is to be.

    Returns:
        All comparisons; the cost alone where there is nothing to compare with.
    """
    from cannabis_ml.pipelines.gate.comparison import HeldOutPhotos, compare_tier

    ships = bundle.manifest.tiers[tier].ships
    file = latency.files[ships]
    cost = Cost(milliseconds=file.one_thread.jpeg_ms.p50, megabytes=file.bytes / 1e6)
    if champion is None or _nothing_to_compare(tier, champion, bundle):
        return TierEvidence(cost=cost)
    shared = pd.Index(champion_outputs["photo_id"]).intersection(challenger_outputs["photo_id"])
    before, after = (
        table.drop_duplicates("photo_id").set_index("photo_id", drop=False).loc[shared]
        for table in (champion_outputs, challenger_outputs)
    )
    is_test = (after["split"] == Split.TEST).to_numpy()
    test, places = after[is_test], photo_set.rows_by_id()
    rows = np.array([places[photo][0] for photo in test["photo_id"]], np.int64)
    truth = photo_set.encode(bundle.taxonomy, rows) if len(rows) else None
    groups = groups_of(test, photo_set.labels())
    photos = HeldOutPhotos(is_test, truth, groups)
    evidence = compare_tier((champion, before), (bundle, after), tier, photos, gate)
    return evidence.model_copy(update={"cost": cost})


def decide_promotion(
    champion: Bundle | None, bundle: Bundle, gate: GateStageParams, **evidence: TierEvidence
) -> GateReport:
    """Decide whether the challenger takes the champion's place.

    Args:
        champion: What is in production, or None.
        bundle: The challenger.
        gate: Margins and budgets.
        **evidence: By tier, from `gather_evidence`.
    """
    challenger = bundle.manifest.content_sha256
    if champion is None:
        report = first_champion(challenger)
    elif champion.manifest.content_sha256 == challenger:
        report = the_champion_itself(challenger)
    else:
        routes = (champion.routing, bundle.routing)
        before, after = (None if rule is None else rule.promised for rule in routes)
        report = judge_challenger(
            champion.manifest.content_sha256, challenger, evidence, gate, (before, after)
        )
    log = logger.info if report.outcome == "promote" else logger.warning
    log("%s", report.in_words)
    return report


def write_gate_page(report: GateReport, photo_set: PhotoSet, unlabelled_photos: list[Path]) -> str:
    """Write the page that a person opens: the decision, its reasons, the flipped answers.

    Args:
        report: From `decide_promotion`.
        photo_set: Photos of the test split.
        unlabelled_photos: Paths of the others.

    Returns:
        HTML that refers to nothing outside itself.
    """
    from cannabis_ml.pipelines.gate.page import render_page

    return render_page(report, photo_set, unlabelled_photos)


def promote_challenger(
    report: GateReport,
    bundle: Bundle,
    started: str,
    tracking_run: str | None,
    gate: GateStageParams,
    **checkpoints: Checkpoint,
) -> Candidate:
    """Hand the challenger to the catalog, which promotes it where the gate let it through.

    Args:
        report: From `decide_promotion`.
        bundle: The challenger.
        started: Time of the run, ISO 8601.
        tracking_run: MLflow's id of this run; None where nothing is tracked.
        gate: Whether a challenger that passes is promoted, and the registered model's name.
        **checkpoints: Of its tiers, to train on from.

    Raises:
        BundleError: If a tier was trained anew since the bundle was made.
    """
    for tier, checkpoint in checkpoints.items():
        card = bundle.model_file(tier).card
        if card.training_key != checkpoint.card.training_key:
            raise BundleError(
                f"{bundle.path} holds another network of {tier} than was trained last. Export and"
                " bundle it anew: kedro run --pipelines=export,calibration,bundle,gate."
            )
    return Candidate(
        bundle=bundle,
        promote=gate.promote and report.outcome == "promote",
        standing=Standing(
            by="gate",
            reason=report.in_words,
            at=datetime.fromisoformat(started),
            report=report,
        ),
        model=gate.registered_model or bundle.manifest.name,
        tracked=tracking_run is not None,
        checkpoints=checkpoints,
    )


def _nothing_to_compare(tier: str, champion: Bundle | None, bundle: Bundle) -> bool:
    if champion is None or tier not in champion.tiers:
        return True
    return champion.manifest.content_sha256 == bundle.manifest.content_sha256


def _unlabeled(
    bundle: Bundle, tier: str, paths: Sequence[Path], gate: GateStageParams
) -> Iterator[pd.DataFrame]:
    """Outputs for the photos without labels that can be read, if there are any."""
    chosen = [paths[row] for row in evenly_spaced(np.arange(len(paths)), gate.unlabelled)]
    predictor = bundle.predictor(tier) if chosen else None
    names, outputs, unreadable = [], [], 0
    for path in chosen:
        assert predictor is not None
        try:
            pixels = decode(path.read_bytes())
        except (UnreadableError, OSError):
            unreadable += 1
            continue
        names.append(str(path))
        outputs.append(predictor.outputs([pixels], batch_size=1))
    if unreadable:
        logger.warning(
            "%d of %d photos without labels cannot be read and are left out.",
            unreadable,
            len(chosen),
        )
    if names:
        yield predictions_of(pd.DataFrame({"photo_id": names, "split": UNLABELLED}), outputs)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else _empty()


def _empty() -> pd.DataFrame:
    return pd.DataFrame({"photo_id": pd.Series(dtype=str), "split": pd.Series(dtype=str)})
