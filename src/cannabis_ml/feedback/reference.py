"""Photos that stand for training: what answers after release are compared with.

They are of splits that the network was not fitted to, as it is surer of those that it was.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.answered import Calibrated
from cannabis_ml.evaluation.predictions import file_outputs_of
from cannabis_ml.feedback.drift import CONFIDENCE, Sample
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_record import TrainingRecord
from cannabis_ml.feedback.vetting.outliers import Embedded
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.inference.reliability import answer_confidence
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy

MOST = 2000
"""Photos of one tier."""


def reference_photos(
    file_outputs: pd.DataFrame,
    labels: pd.DataFrame,
    taxonomy: Taxonomy,
    rule: DecisionRule,
    seed: int = 0,
) -> pd.DataFrame:
    """Choose the photos, with what a model file gave for them.

    Args:
        file_outputs: As from `predictions_of`, with `split`.
        labels: A row per photo, with `photo_id`, labels and, if known, `group`.
        taxonomy: Gives the heads.
        rule: Calibrates and decides.
        seed: Of the draw, where there are more than `MOST`.

    Returns:
        A row per photo of the calibration and test split, in order of `photo_id`: `photo_id`,
        `group`; `embedding` (float32 (F,)), where the file gives one; per head the label, and the
        calibrated confidence of a multiclass or ordinal one (NaN: no answer).
    """
    rows = file_outputs[file_outputs["split"].isin([Split.CALIBRATION, Split.TEST])]
    rows = rows.sort_values("photo_id", kind="stable")
    if len(rows) > MOST:
        chosen = np.random.default_rng(seed).choice(len(rows), MOST, replace=False)
        rows = rows.iloc[np.sort(chosen)]
    own = labels.set_index("photo_id").reindex(rows["photo_id"]).reset_index()
    table = pd.DataFrame({"photo_id": own["photo_id"].astype("str")})
    table["group"] = own["group"] if "group" in own else own["photo_id"]
    table["group"] = table["group"].fillna(table["photo_id"]).astype("str")
    for head in taxonomy.heads:
        if head.kind != "multilabel" and head.name in own:
            table[head.name] = own[head.name].astype("str").to_numpy()
    if rows.empty:
        return table
    calibrated = Calibrated.of(Decision(taxonomy, rule), file_outputs_of(rows, taxonomy))
    for head in taxonomy.heads:
        if head.kind != "multilabel":
            probs, decided = calibrated.outputs[head.name], calibrated.decided[head.name]
            table[CONFIDENCE + head.name] = answer_confidence(probs, decided)
    if EMBEDDING in rows:
        values = [np.asarray(one, np.float32) for one in rows[EMBEDDING]]
        table[EMBEDDING] = pd.Series(values, dtype=object)
    return table


def sample_of(reference: pd.DataFrame) -> Sample:
    """The photos as `find_drift` takes them."""
    confidences = {
        str(name).removeprefix(CONFIDENCE): reference[name].to_numpy(np.float64)
        for name in reference.columns
        if str(name).startswith(CONFIDENCE)
    }
    return Sample(_stacked(reference), confidences, reference["group"].to_numpy(object))


def outlier_evidence(
    snapshot: FeedbackSnapshot,
    record: TrainingRecord | None,
    references: Mapping[str, pd.DataFrame],
) -> tuple[Embedded | None, Embedded | None]:
    """What outliers are found by: embeddings of people's photos, and those of training.

    Embeddings of two networks cannot be compared, so those of the last bundle's tier that answered
    most photos are taken.

    Args:
        snapshot: Embeddings that answers came with.
        record: Of the last training; names the bundle.
        references: By tier, as from `reference_photos`; empty where there are none.

    Returns:
        Both None where either is missing, or another training's bundle is in service.
    """
    table = snapshot.embeddings
    if record is None or not record.is_in_service or table.empty:
        return None, None
    table = table[table["bundle_id"] == record.bundle_id]
    for tier in table["tier"].value_counts().index:
        reference = references.get(str(tier), pd.DataFrame())
        known = _stacked(reference)
        own = table[table["tier"] == tier]
        if known is not None:
            own = own[[len(one) == known.shape[1] for one in own["embedding"]]]
            values = _stacked(own)
            if values is not None:
                photos = own[["photo_id"]].reset_index(drop=True)
                return Embedded(photos, values), Embedded(reference, known)
    return None, None


def _stacked(table: pd.DataFrame) -> np.ndarray | None:
    if table.empty or EMBEDDING not in table:
        return None
    return np.stack([np.asarray(one, np.float32) for one in table[EMBEDDING]])
