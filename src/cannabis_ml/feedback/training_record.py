"""What the last training rested on: where the counts of feedback start anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml.errors import FeedbackError
from cannabis_ml.evaluation.scores import Evaluation, MultilabelScores
from cannabis_ml.photo_sets.feedback_source import OWN_COLUMNS
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec


class Baseline(BaseModel):
    """Accuracy on the test split of one head, as one tier answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1, description="Lower end of its interval")
    photos: int = Field(gt=0, description="Test photos with a label")


class TrainingRecord(BaseModel):
    """One training, as the retrain decision needs it.

    The labels themselves are kept, not only the time: opinions that arrive while a
    training runs come after its photos were read, and count as new.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: datetime = Field(description="When the run started, UTC")
    bundle_id: str = Field(
        default="", description="Of the bundle that it made, see `in_service`; empty: not known"
    )
    taxonomy: Taxonomy = Field(description="Heads and classes that it learnt")
    baselines: dict[str, dict[str, Baseline]] = Field(
        default_factory=dict, description="By tier and multiclass or ordinal head"
    )
    feedback: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="By photo and label column: the labels that it was given"
    )

    is_in_service: bool = Field(
        default=True,
        exclude=True,
        description="Whether people see the answers of this training's own bundle, see `in_service`"
        "; only then do photos of its run stand for them",
    )

    def knows(self, photo_id: str, columns: dict[str, str]) -> bool:
        """Whether the training was given this photo with these labels."""
        known = self.feedback.get(photo_id, {})
        return all(known.get(name) == label for name, label in columns.items())

    def in_service(self, bundle_id: str, earlier: Iterable[TrainingRecord]) -> TrainingRecord:
        """This training, with the bundle and the baselines of the one whose answers people see.

        Counts of labels go on from this training even if its bundle was refused; accuracy is
        measured on the answers of the bundle in service, against what that one reached.

        Args:
            bundle_id: Of the bundle in service.
            earlier: Records of other trainings, the newest first.

        Returns:
            Without baselines where no record of that bundle is left.
        """
        served = next((one for one in earlier if one.bundle_id == bundle_id), None)
        baselines = served.baselines if served else {}
        changed = {"bundle_id": bundle_id, "baselines": baselines, "is_in_service": False}
        return self.model_copy(update=changed)


def read_records(path: Path) -> Iterator[TrainingRecord]:
    """All records at a path, the newest first, each read when it is asked for.

    Args:
        path: A file, or the folder of versions that the catalog's entry writes:
            `training_record.json/2026-05-01T03.00.00.000Z/training_record.json`. Nothing is there
            until the first training.

    Raises:
        FeedbackError: If one is not a record.
    """
    versions = path.glob(f"*/{path.name}") if path.is_dir() else [path]
    for file in sorted(versions, reverse=True):
        if not file.is_file():
            continue
        try:
            yield TrainingRecord.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise FeedbackError(
                f"{file} is not the record of a training: {error.error_count()} faults, the first"
                f" of them: {error.errors()[0]['msg']}."
            ) from error


def record_of(
    at: datetime,
    bundle_id: str,
    taxonomy: Taxonomy,
    feedback_photos: pd.DataFrame,
    evaluations: Mapping[str, Evaluation],
) -> TrainingRecord:
    """Record a training.

    Args:
        at: When the run started, UTC.
        bundle_id: Of the bundle that it made.
        taxonomy: Heads and classes.
        feedback_photos: What ingestion was given; see `labels_of_photos`.
        evaluations: Scores on the test split by tier.
    """
    return TrainingRecord(
        at=at,
        bundle_id=bundle_id,
        taxonomy=taxonomy,
        baselines={tier: baselines_of(scores) for tier, scores in evaluations.items()},
        feedback=dict(labels_of_photos(feedback_photos)),
    )


def taxonomy_to_vet(record: TrainingRecord | None, configured: TaxonomySpec) -> Taxonomy | None:
    """Heads and classes that opinions are held against.

    Those of the configuration, where it lists them: a class that was added there makes labels of
    what people proposed. Where classes are left to the labels, those of the last training.

    Returns:
        None where neither lists the classes of any head.
    """
    known = {head.name: head for head in record.taxonomy.heads} if record else {}
    written = [head for head in configured.heads if not isinstance(head.classes, str)]
    listed = {head.name: Head.model_validate(head.model_dump()) for head in written}
    names = [head.name for head in configured.heads]
    heads = [listed.get(name) or known[name] for name in names if name in listed or name in known]
    return Taxonomy(heads=heads) if heads else None


def baselines_of(evaluation: Evaluation) -> dict[str, Baseline]:
    """Accuracy of a tier per multiclass or ordinal head that has test labels.

    Attributes of multilabel heads are each right or wrong; a photo as a whole has no accuracy.
    """
    return {
        name: Baseline(accuracy=scores.accuracy, low=scores.accuracy_interval[0], photos=scores.n)
        for name, scores in evaluation.heads.items()
        if not isinstance(scores, MultilabelScores)
        and scores.accuracy is not None
        and scores.accuracy_interval is not None
    }


def answered_since(rows: pd.DataFrame, record: TrainingRecord | None) -> pd.DataFrame:
    """What was answered by the model of the last training.

    Args:
        rows: With `at` and `bundle_id`.
        record: Of the last training; None takes all rows.
    """
    if record is None:
        return rows
    after = rows["at"] >= pd.Timestamp(record.at)
    if not record.bundle_id:
        return rows[after]
    return rows[after & rows["bundle_id"].isin(["", record.bundle_id])]


def labels_of_photos(feedback_photos: pd.DataFrame) -> Iterator[tuple[str, dict[str, str]]]:
    """Each photo of a table of feedback photos with its known labels, by column.

    Args:
        feedback_photos: One row per photo with `OWN_COLUMNS` and label columns; see
            `cannabis_ml.feedback.training_photos`.
    """
    columns = [name for name in feedback_photos.columns if name not in OWN_COLUMNS]
    for row in feedback_photos.to_dict("records"):
        known = {str(name): str(row[name]) for name in columns if not pd.isna(row[name])}
        yield str(row["photo_id"]), known
