"""The retrain decision of a store as it stands, as the feedback pipeline makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cannabis_ml.errors import ConfigError
from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.blind_opinions import with_answers
from cannabis_ml.feedback.judged import judged_answers, label_text
from cannabis_ml.feedback.recent_audits import judge_auditors, recent_audits
from cannabis_ml.feedback.retrain_decision import (
    Evidence,
    RetrainDecision,
    RetrainParams,
    decide_retraining,
)
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import TrainingRecord
from cannabis_ml.feedback.vetting import Evidence as VettingEvidence
from cannabis_ml.feedback.vetting import VettingParams, label_table, vet_opinions
from cannabis_ml.taxonomy import Taxonomy


@dataclass(frozen=True)
class DecisionParams:
    """`feedback.retrain`, `feedback.vetting` and `feedback.audit` in parameters_feedback.yml."""

    retrain: RetrainParams = field(default_factory=RetrainParams)
    vetting: VettingParams = field(default_factory=VettingParams)
    audit: AuditParams = field(default_factory=AuditParams)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> DecisionParams:
        """Check parameters.

        Args:
            given: Of the three groups those that differ from the defaults.

        Raises:
            ConfigError: If one cannot be.
        """
        unknown = sorted(set(given) - {"retrain", "vetting", "audit"})
        if unknown:
            raise ConfigError(f"{', '.join(unknown)}: not one of retrain, vetting and audit.")
        try:
            return cls(
                RetrainParams.model_validate(given.get("retrain", {})),
                VettingParams.model_validate(given.get("vetting", {})),
                AuditParams.model_validate(given.get("audit", {})),
            )
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
            )
            raise ConfigError(f"The parameters of the retrain decision: {faults}.") from error


def decide_now(
    snapshot: FeedbackSnapshot,
    taxonomy: Taxonomy,
    record: TrainingRecord | None,
    params: DecisionParams,
    now: datetime,
) -> RetrainDecision:
    """Vet the opinions of a store, and decide whether to train anew.

    Photos that stand for training are not at hand: drift and outliers, which are found by them, are
    left to the pipeline.

    Args:
        snapshot: As from `snapshot.snapshot_of`.
        taxonomy: Heads and classes that opinions are held against.
        record: Of the last training; None where none is recorded.
        params: Limits.
        now: UTC.
    """
    evidence = VettingEvidence(known=snapshot.gold, answers=snapshot.answers)
    vetted = vet_opinions(snapshot.opinions, taxonomy, params.vetting, evidence)
    texts = [label_text(label) for label in vetted.photos["label"]]
    photos = vetted.photos.assign(label=texts)
    sent = dict(zip(snapshot.photos["photo_id"], snapshot.photos["sent_sha256"], strict=True))
    labelled = feedback_photos(label_table(vetted, taxonomy), snapshot.paths, sent)
    judged = judged_answers(photos, with_answers(snapshot.opinions, snapshot.answers))
    known_from = params.audit.known_from
    people = judge_auditors(snapshot, vetted.people, record, params.vetting, known_from)
    audits = recent_audits(snapshot, people, record, (params.retrain, params.audit), now)
    found = Evidence(judged, labelled, vetted.proposals, record, audits)
    return decide_retraining(found, params.retrain, now)
