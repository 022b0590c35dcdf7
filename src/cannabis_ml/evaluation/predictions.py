"""Predictions beside the labels of the same photos, and what the model decides from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.scores import Thresholds
from cannabis_ml.inference.decision import SMALLEST, Decision, DecisionRule
from cannabis_ml.inference.outputs import ALEATORIC, EMBEDDING, EPISTEMIC, GIVEN
from cannabis_ml.taxonomy import Head, Taxonomy

Rule = DecisionRule | Thresholds
"""How is decided: the whole rule, or thresholds alone."""


def predictions_of(
    photos: pd.DataFrame, outputs: Sequence[Mapping[str, np.ndarray]]
) -> pd.DataFrame:
    """Outputs of a model file as a table of predictions.

    Args:
        photos: `photo_id` and `split` of N photos.
        outputs: Of each, every output by name, float32 (1, …).

    Returns:
        `photos`, and per output a column of lists of float32; tables are flattened.
    """
    names = list(outputs[0]) if outputs else []
    columns = {name: [one[name][0].ravel() for one in outputs] for name in names}
    return photos.assign(**{name: pd.Series(v, dtype=object) for name, v in columns.items()})


def outputs_of(predictions: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Probabilities as a model gives them, for `Decision.decide`.

    Args:
        predictions: As for `metrics.score`. P(child | parent) comes from the columns
            `{head}.given` of a model file, or `{head}.logits` of a network: a list of length
            members times K, or members times K - 1 of an ordinal head.
        taxonomy: Gives the heads.

    Returns:
        Per head float64 (N, K), and per head that its parent limits `{head}.given`, (N, P, K),
        where it is known.
    """
    outputs = {head.name: _probs(predictions, head) for head in taxonomy.heads}
    for head in taxonomy.heads if len(predictions) else []:
        if head.kind == "multilabel" or not taxonomy.limits(head):
            continue
        allowed = taxonomy.allowed_pairs(head)
        if head.name + GIVEN in predictions:
            table = np.stack(predictions[head.name + GIVEN].to_list()).astype(np.float64)
            outputs[head.name + GIVEN] = table.reshape(-1, *allowed.shape)
        elif f"{head.name}.logits" in predictions:
            outputs[head.name + GIVEN] = _given(predictions, head, allowed)
    return outputs


def file_outputs_of(predictions: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """As `outputs_of`, with the embedding and the uncertainties that a model file gives.

    Args:
        predictions: As from `predictions_of`.
        taxonomy: Gives the heads.
    """
    outputs = outputs_of(predictions, taxonomy)
    scalars = [head.name + part for head in taxonomy.heads for part in (ALEATORIC, EPISTEMIC)]
    for name in [EMBEDDING, *scalars] if len(predictions) else []:
        if name in predictions:
            values = np.stack(predictions[name].to_list()).astype(np.float32)
            outputs[name] = values if name == EMBEDDING else values[:, 0]
    return outputs


def decide(
    predictions: pd.DataFrame, taxonomy: Taxonomy, rule: Rule | None = None
) -> dict[str, np.ndarray]:
    """Decide on the classes of each photo, as `Decision.decide`.

    Args:
        predictions: As for `outputs_of`.
        taxonomy: Gives the heads.
        rule: As for `metrics.score`.

    Returns:
        Per multiclass and ordinal head class indices, int64 (N,), `MISSING` where the class of
        the parent allows none; per multilabel head bool (N, K).
    """
    return decision(taxonomy, rule).decide(outputs_of(predictions, taxonomy))


def decision(taxonomy: Taxonomy, rule: Rule | None = None) -> Decision:
    """The decision by a rule, or by these thresholds."""
    whole = rule if isinstance(rule, DecisionRule) else DecisionRule(thresholds=rule or {})
    return Decision(taxonomy, whole)


def alone(head: Head) -> Taxonomy:
    """A taxonomy of one head, whose parent is not asked."""
    return Taxonomy.model_construct(heads=[head])


def paired(
    predictions: pd.DataFrame, photos: pd.DataFrame, head: Head
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of one head for the same photos.

    Args:
        predictions: As for `metrics.score`.
        photos: As for `metrics.score`.
        head: Which head.

    Returns:
        Probabilities, float64 (N, K), and labels as from `Taxonomy.encode`.

    Raises:
        KeyError: If a predicted photo is not among `photos`.
    """
    labels = labels_of(predictions, photos[["photo_id", *head.columns]])
    return _probs(predictions, head), alone(head).encode(labels)[head.name]


def labels_of(predictions: pd.DataFrame, photos: pd.DataFrame) -> pd.DataFrame:
    """The row of `photos` of each predicted photo.

    Raises:
        KeyError: If a predicted photo is not among `photos`.
    """
    return photos.drop_duplicates("photo_id").set_index("photo_id").loc[predictions["photo_id"]]


def groups_of(predictions: pd.DataFrame, photos: pd.DataFrame) -> np.ndarray:
    """A number of the group of each predicted photo, int64 (N,).

    Args:
        predictions: As for `metrics.score`.
        photos: As for `metrics.score`; without a column `group`, or where it is empty, each photo
            is a group of its own.
    """
    ids = predictions["photo_id"]
    if "group" not in photos:
        return np.arange(len(ids))
    named = labels_of(predictions, photos[["photo_id", "group"]])["group"]
    codes = pd.factorize(named)[0].astype(np.int64)
    return np.where(codes < 0, len(ids) + np.arange(len(ids)), codes)


def _probs(predictions: pd.DataFrame, head: Head) -> np.ndarray:
    if len(predictions) == 0:
        return np.zeros((0, len(head.classes)))
    return np.stack(predictions[head.name].to_list()).astype(np.float64)


def _given(predictions: pd.DataFrame, head: Head, allowed: np.ndarray) -> np.ndarray:
    """Probabilities of a head for each class of its parent, (N, P, K), mean over its members."""
    members = _members(predictions, head)
    table = np.zeros((len(members), *allowed.shape))
    for row, possible in enumerate(allowed):
        if possible.any():
            within = members[:, :, possible]
            within = within / within.sum(axis=2, keepdims=True)
            table[:, row, possible] = within.mean(axis=1)
    return table


def _members(predictions: pd.DataFrame, head: Head) -> np.ndarray:
    """Probabilities of each member of a head on its own, (N, M, K)."""
    classes = len(head.classes)
    logits = np.stack(predictions[f"{head.name}.logits"].to_list()).astype(np.float64)
    if head.kind == "ordinal":  # P(worse than k), which falls with k
        worse = 1 / (1 + np.exp(-logits.reshape(len(logits), -1, classes - 1)))
        probs = -np.diff(worse, axis=2, prepend=1.0, append=0.0)
    else:
        logits = logits.reshape(len(logits), -1, classes)
        exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
        probs = exponents / exponents.sum(axis=2, keepdims=True)
    return np.maximum(probs, SMALLEST)
