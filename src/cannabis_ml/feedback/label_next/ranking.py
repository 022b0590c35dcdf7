"""The ranked list of photos worth a person's time, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.feedback.label_next.label_errors import suspected_label_errors
from cannabis_ml.feedback.label_next.params import LabelNextParams
from cannabis_ml.feedback.label_next.strategy import Pool, choose_query, next_batch
from cannabis_ml.feedback.learning_curve import Advice, advise, measure_curve
from cannabis_ml.feedback.linear_head import fit_projection, out_of_fold_probs
from cannabis_ml.taxonomy import Head

LIST_COLUMNS = ("rank", "photo_id", "path", "kind", "reason", "answered", "confidence", "audit")

REASONS = {
    "typical": "typical of many photos that have no label yet",
    "margin": "the model wavers between two classes",
    "dropquery": "the model's answer changes when part of what it sees is left out",
    "uniform": "drawn uniformly, to measure accuracy by",
}


def rank_photos(seen: pd.DataFrame, head: Head, params: LabelNextParams) -> pd.DataFrame:
    """Choose the photos to label next, those worth most first.

    Photos drawn uniformly are spread evenly over the list, so that whoever labels the first part
    of it has labelled their share. They are drawn first: no photo is left out of the draw.

    Args:
        seen: As from `pool.look`.
        head: The head that is labelled.
        params: How many, of which kind.

    Returns:
        `LIST_COLUMNS`; no two photos of one group.
    """
    pool = pool_of(seen, head)
    drawn = next_batch(pool, round(params.uniform_share * params.count), params.seed, "uniform")
    rest = params.count - len(drawn)
    pool = replace(pool, taken=drawn)
    split = _disagreeing(seen, pool, round(params.disagreement_share * params.count))
    pool = replace(pool, taken=np.concatenate([drawn, split]))
    query = params.query or choose_query(pool)
    queried = next_batch(pool, rest - len(split), params.seed, query)
    rows = [(row, "disagreement", _disagreement(seen.iloc[row])) for row in split]
    rows = _interleaved([(row, query, REASONS[query]) for row in queried], rows)
    rows = _interleaved(rows, [(row, "uniform", REASONS["uniform"]) for row in drawn])
    chosen = [int(row) for row, _, _ in rows]
    table = seen.iloc[chosen][["photo_id", "path", "answered", "confidence"]].reset_index(drop=True)
    table["kind"] = pd.Series([kind for _, kind, _ in rows], dtype="str")
    table["reason"] = pd.Series([reason for _, _, reason in rows], dtype="str")
    table["audit"] = table["kind"] == "uniform"
    table["rank"] = np.arange(1, len(table) + 1)
    return table[list(LIST_COLUMNS)]


def list_label_errors(seen: pd.DataFrame, head: Head, params: LabelNextParams) -> pd.DataFrame:
    """List training photos whose label is probably wrong, most suspicious first.

    Args:
        seen: As from `pool.look`.
        head: The head that is labelled.
        params: How many at most.

    Returns:
        `photo_id`, `path`, `label`, `suggested`, `label_prob`, `suggested_prob` and `reason`.
    """
    labelled = seen[seen["label"].notna()].reset_index(drop=True)
    pool = pool_of(labelled, head)
    columns = ["photo_id", "path", "label", "suggested", "label_prob", "suggested_prob", "reason"]
    if len(np.unique(pool.groups)) < 2 or len(np.unique(pool.labels)) < 2:
        return pd.DataFrame(columns=columns)
    components = fit_projection(pool.embeddings, seed=params.seed)(pool.embeddings)
    probs = out_of_fold_probs(components, pool.labels, pool.groups, pool.classes, params.seed)
    suspects = suspected_label_errors(pool.labels, probs, head.class_names)[: params.most_errors]
    photos = labelled.iloc[suspects["row"]][["photo_id", "path"]].reset_index(drop=True)
    suspects["reason"] = [
        f"labelled '{row['label']}' ({row['label_prob']:.0%}), looks like '{row['suggested']}'"
        f" ({row['suggested_prob']:.0%})"
        for row in suspects.to_dict("records")
    ]
    return pd.concat([photos, suspects.drop(columns="row")], axis=1)[columns]


def advise_photos(seen: pd.DataFrame, head: Head, params: LabelNextParams) -> list[Advice]:
    """Estimate what more photos would bring: of all classes, then of those with the lowest recall.

    Args:
        seen: As from `pool.look`.
        head: The head that is labelled.
        params: Sizes, target, and of how many classes.
    """
    labelled = seen[seen["label"].notna()].reset_index(drop=True)
    pool = pool_of(labelled, head)
    if len(np.unique(pool.groups)) < 5 or len(np.unique(pool.labels)) < 2:
        return []
    components = fit_projection(pool.embeddings, seed=params.seed)(pool.embeddings)
    curve = measure_curve(components, pool.labels, pool.groups, params.curves)
    advice = [advise(head.name, curve, params.curves)]
    probs = out_of_fold_probs(components, pool.labels, pool.groups, pool.classes, params.seed)
    wrong = pd.Series(probs.argmax(axis=1) != pool.labels).groupby(pool.labels).mean()
    groups = pd.Series(pool.groups).groupby(pool.labels).nunique()
    worst = wrong[groups >= 5].sort_values(ascending=False, kind="stable")
    for number in worst.index[: params.most_classes]:
        of_class = (int(number), head.class_names[int(number)])
        curve = measure_curve(components, pool.labels, pool.groups, params.curves, of_class)
        advice.append(advise(head.name, curve, params.curves))
    return advice


def pool_of(seen: pd.DataFrame, head: Head) -> Pool:
    """The photos as numbers; labels that are none of the head's classes count as none."""
    place = {name: number for number, name in enumerate(head.class_names)}
    labels = [place.get(label, -1) if isinstance(label, str) else -1 for label in seen["label"]]
    width = len(seen["embedding"].iloc[0]) if len(seen) else 0
    embeddings = np.array(seen["embedding"].to_list(), np.float32).reshape(len(seen), width)
    groups = pd.factorize(seen["group"])[0].astype(np.int64)
    return Pool(embeddings, groups, np.array(labels, np.int64), len(head.classes))


def _disagreeing(seen: pd.DataFrame, pool: Pool, count: int) -> np.ndarray:
    """Photos on which tiers answer differently, those that the largest is surest of first."""
    tiers = [name for name in seen.columns if name.startswith("answered.")]
    free = pool.candidates()
    several = seen.iloc[free][tiers].nunique(axis=1).to_numpy() > 1
    rows = free[several]
    order = rows[np.argsort(-seen["confidence"].to_numpy()[rows], kind="stable")]
    _, first = np.unique(pool.groups[order], return_index=True)
    return order[np.sort(first)][:count]


def _disagreement(row: Any) -> str:
    names = [name for name in row.index if str(name).startswith("answered.")]
    answers = [f"{name.removeprefix('answered.')} answers '{row[name]}'" for name in names]
    return f"tiers disagree: {', '.join(answers)}"


def _interleaved(
    many: list[tuple[int, str, str]], few: list[tuple[int, str, str]]
) -> list[tuple[int, str, str]]:
    """Both in order, the shorter list spread evenly over the longer."""
    total = len(many) + len(few)
    places = {int((i + 0.5) * total / len(few)) for i in range(len(few))} if few else set()
    rest, own = iter(many), iter(few)
    return [next(own) if place in places else next(rest) for place in range(total)]
