"""The photos that a network is trained on, in one argument; no PyTorch here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cannabis_ml.errors import TrainingError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Rows of a photo set to train on, with weights, copies and teacher.

    Attributes:
        photos: Photos of all splits, with labels.
        taxonomy: Encodes the labels.
        rows: int64 (N,), rows of `photos` that an epoch shows; repeated if oversampled.
        weights: float (N,), weight of each row in the loss; None: all 1.
        copies: Augmented copies, shown in turn with the photos themselves where pixels are looked
            at, whole and mirrored or not; heads alone learn from features of the photos as they
            are.
        teacher: Predictions of a better network for the same photos, to learn from besides the
            labels: `photo_id`, `split` and per head a column of probabilities.
    """

    photos: PhotoSet
    taxonomy: Taxonomy
    rows: np.ndarray
    weights: np.ndarray | None = None
    copies: PhotoSet | None = None
    teacher: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of_split(
        cls, photos: PhotoSet, taxonomy: Taxonomy, split: Split = Split.TRAIN
    ) -> TrainingData:
        """Every photo of a split once, all with the same weight."""
        return cls(photos, taxonomy, photos.rows_of(split))

    @classmethod
    def balanced(
        cls,
        photos: PhotoSet,
        taxonomy: Taxonomy,
        balanced_rows: pd.DataFrame,
        copies: PhotoSet | None = None,
    ) -> TrainingData:
        """The training rows that balancing chose.

        Args:
            photos: Photos of all splits.
            taxonomy: Encodes the labels.
            balanced_rows: `row` of every training photo that an epoch shows, and its `weight`.
            copies: Augmented copies of training photos.

        Raises:
            TrainingError: If rows are not training photos of this photo set: they may be test
                photos of one that has changed since.
        """
        rows = balanced_rows["row"].to_numpy()
        strays = int((~np.isin(rows, photos.rows_of(Split.TRAIN))).sum())
        if strays:
            raise TrainingError(
                f"{strays:,} of {len(rows):,} rows of balanced_rows are not training photos of the"
                " photo set: it has changed since. Run the balancing pipeline again, or all of"
                " `kedro run --pipelines train`."
            )
        return cls(photos, taxonomy, rows, balanced_rows["weight"].to_numpy(), copies)

    def validation(self) -> TrainingData:
        """The validation split of the same photos."""
        return self.of_split(self.photos, self.taxonomy, Split.VALIDATION)

    def taught_by(self, teacher: pd.DataFrame | None) -> TrainingData:
        """The same photos with predictions of another teacher, or of none."""
        return replace(self, teacher=teacher)

    @property
    def photo_ids(self) -> np.ndarray:
        """`photo_id` of each row, str (N,)."""
        return self.photos.labels("photo_id")["photo_id"].to_numpy(str)[self.rows]

    @property
    def fingerprints(self) -> list[str]:
        """Fingerprints of the photos, their copies, and the choice of rows and weights."""
        hashes = [self.photos.fingerprint]
        if self.copies is not None:
            hashes.append(self.copies.fingerprint)
        weights = np.ones(len(self)) if self.weights is None else self.weights
        chosen = np.stack([self.rows, weights], axis=1).astype(np.float64)
        return [*hashes, hashlib.sha256(np.ascontiguousarray(chosen).tobytes()).hexdigest()]

    def teacher_probs(self) -> dict[str, np.ndarray]:
        """The teacher's probabilities for each row, per head float32 (N, K); empty without one.

        Raises:
            TrainingError: If the teacher has no prediction for some of the photos.
        """
        if self.teacher is None:
            return {}
        table = self.teacher.drop_duplicates("photo_id").set_index("photo_id")
        ids = self.photo_ids
        unseen = int((~np.isin(ids, table.index.to_numpy(str))).sum())
        if unseen:
            raise TrainingError(
                f"The teacher has no prediction for {unseen:,} of {len(ids):,} training photos: its"
                " predictions are of another photo set. Train and predict with the teacher first."
            )
        at = table.loc[ids]
        return {
            head.name: np.stack(at[head.name].to_list()).astype(np.float32)
            for head in self.taxonomy.heads
        }

    def check(self) -> None:
        """Refuse photos that nothing can be learned from, or nothing validated on.

        Raises:
            TrainingError: If the training or the validation split is empty or without labels, or
                the teacher has no prediction for some of the photos.
        """
        table = self.photos.labels()
        for split in (Split.TRAIN, Split.VALIDATION):
            rows = self.photos.rows_of(split)
            if not len(rows):
                counts = table["split"].value_counts().to_dict()
                raise TrainingError(
                    f"There is no photo in the {split} split (photos per split: {counts})."
                    " Bring more photos, or change the fractions under ingestion."
                )
            if not table.iloc[rows][self.taxonomy.columns].notna().any(axis=None):
                raise TrainingError(
                    f"None of the {len(rows):,} photos of the {split} split has a label of"
                    f" {', '.join(head.name for head in self.taxonomy.heads)}."
                )
        self.teacher_probs()
