"""How good predictions are, per head: small functions, NumPy and scikit-learn, no PyTorch.

Unknown labels count nowhere. What cannot be said (no label, no positive, one class only) is None,
never NaN and never a division by zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from cannabis_ml.evaluation.intervals import by_groups, f1_by_groups, wilson
from cannabis_ml.inference.decision import GIVEN, SMALLEST, THRESHOLD, Decision, DecisionRule
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

CONFIDENCE = 0.95
"""Of intervals, unless another is asked for."""

NAMED = 10
"""Classes that a sentence names before it counts the rest."""

Thresholds = Mapping[str, Mapping[str, float]]
"""Per multilabel head and class, the probability from which on it is said to be there."""


def score(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    thresholds: Thresholds | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Every metric of every head.

    Args:
        predictions: `photo_id` and per head a column of probabilities, each a list of length K.
        photos: `photo_id` and the label columns; may hold more photos than `predictions`. Photos
            of one `group` are taken to be right or wrong together; without such a column, or
            where it is empty, each photo is a group of its own.
        taxonomy: Gives the heads.
        thresholds: As `choose_thresholds` gives them, from other photos than these; `THRESHOLD`
            where none is given.
        confidence: Of the intervals.

    Returns:
        Per head, JSON-able: `n` (photos with a label) in `groups`, `accuracy`,
        `accuracy_per_group` (mean over groups of the share right in each, so that a burst counts
        once), both with `…_interval` (lower and upper end, see `intervals`), `balanced_accuracy`
        (mean recall of the classes that occur), `macro_f1`, `confusion` as from `confusion`, and
        `per_class` of precision, recall and f1, each with `…_interval`, recall_per_group, support
        in groups (those with a photo that has it), said (how often it was the answer) and error.
        Besides

        - ordinal: `quadratic_weighted_kappa` and `mean_absolute_error` in classes
        - with a parent: `unanswered`, labelled photos whose answer of the parent allows none here;
          they count as wrong, and in no measure of distance
        - multilabel: `mean_average_precision` over the attributes seen both present and absent;
          `accuracy` is over known labels, `balanced_accuracy` the mean over these attributes of
          recall and specificity; per class also n, threshold, specificity and average_precision

        `macro_f1` is the mean over the classes that occur among labels or answers: a class that
        is neither there nor claimed says nothing, one that is claimed in vain scores 0. `error`
        is the share of the class's photos that got another answer; of an attribute, the mean of
        the shares missed and falsely claimed, so that rare attributes are not flattered.

    Raises:
        KeyError: If a predicted photo is not among `photos`.
    """
    said = answers(predictions, taxonomy, thresholds)
    groups = _groups(predictions, photos)
    found = {}
    for head in taxonomy.heads:
        probs, truth = _paired(predictions, photos, head)
        if head.kind == "multilabel":
            found[head.name] = _score_attributes(
                head,
                probs,
                said[head.name],
                truth,
                groups,
                thresholds=_decision(taxonomy, thresholds).thresholds(head),
                confidence=confidence,
            )
        else:
            found[head.name] = _score_classes(head, said[head.name], truth, groups, confidence)
    return found


def count_groups(predictions: pd.DataFrame, photos: pd.DataFrame) -> int:
    """How many groups the predicted photos fall into; without any, each photo is one.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
    """
    return len(np.unique(_groups(predictions, photos)))


def score_hierarchy(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """How well heads do together that imply each other.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
        taxonomy: Gives the heads, their parents and what these allow.
        confidence: Of the intervals.

    Returns:
        Per head with a parent, JSON-able: `parent`; `n` (photos with both labels) in `groups` and
        on these `joint_accuracy` (both right) and `parent_accuracy`, each also `…_per_group` and
        with `…_interval` as in `score`, and `accuracy_where_parent_right`; `impossible_pairs`,
        the share of all answers, labelled or not, that the taxonomy forbids; and
        `impossible_pairs_read_apart`, what that share would be if each head were asked alone.
    """
    said = answers(predictions, taxonomy)
    groups = _groups(predictions, photos)
    found = {}
    for head in taxonomy.heads:
        if head.parent is None or head.kind == "multilabel":
            continue
        parent = taxonomy[head.parent]
        allowed = taxonomy.allowed_pairs(head)
        apart, truth = _paired(predictions, photos, head)
        parent_apart, parent_truth = _paired(predictions, photos, parent)
        known = (truth != MISSING) & (parent_truth != MISSING)
        right = (said[head.name] == truth)[known]
        parent_right = (said[parent.name] == parent_truth)[known]
        both = right & parent_right
        claims = said[head.name] != MISSING
        possible = _decision(taxonomy).possible(head, said, len(claims))
        possible = possible[np.arange(len(claims)), said[head.name]]
        allowed_apart = allowed[parent.answer(parent_apart), head.answer(apart)]
        found[head.name] = {
            "parent": parent.name,
            "n": len(right),
            "groups": len(np.unique(groups[known])),
            **_shared_right("joint_accuracy", both, groups[known], confidence),
            **_shared_right("parent_accuracy", parent_right, groups[known], confidence),
            "accuracy_where_parent_right": _mean(both[parent_right]),
            "impossible_pairs": _mean(claims & ~possible),
            "impossible_pairs_read_apart": _mean(~allowed_apart),
        }
    return found


def confusion(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    head: Head,
    thresholds: Thresholds | None = None,
    taxonomy: Taxonomy | None = None,
) -> np.ndarray:
    """Counts of photos with a known label.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
        head: Which head.
        thresholds: As for `score`.
        taxonomy: If given, heads that imply each other are answered together, as `answers` does.

    Returns:
        Multiclass and ordinal: int64 (K, K), row true class, column predicted class; photos that
        got no answer stand nowhere. Multilabel: int64 (K, 4), true positives, false positives,
        false negatives, true negatives.
    """
    _, truth = _paired(predictions, photos, head)
    said = answers(predictions, taxonomy or _alone(head), thresholds)[head.name]
    if head.kind == "multilabel":
        return _count_attributes(said, truth)
    return _count_classes(head, said, truth)


def choose_thresholds(
    predictions: pd.DataFrame, photos: pd.DataFrame, taxonomy: Taxonomy, fewest: int = 5
) -> dict[str, dict[str, float]]:
    """From which probability on an attribute is best said to be there: where F1 is highest.

    Choose on photos that are not scored afterwards. Of thresholds with the same F1 the one
    nearest to `THRESHOLD` is taken.

    Args:
        predictions: As for `score`, of the validation split.
        photos: As for `score`.
        taxonomy: Gives the heads.
        fewest: Photos that must have the attribute, and as many that must lack it; with fewer the
            best threshold is an accident, and it stays at `THRESHOLD`.

    Returns:
        Per multilabel head and class a probability.
    """
    chosen = {}
    for head in taxonomy.heads:
        if head.kind != "multilabel":
            continue
        probs, truth = _paired(predictions, photos, head)
        chosen[head.name] = {
            name: _best_threshold(probs[:, k], truth[:, k], fewest)
            for k, name in enumerate(head.class_names)
        }
    return chosen


def answers(
    predictions: pd.DataFrame, taxonomy: Taxonomy, thresholds: Thresholds | None = None
) -> dict[str, np.ndarray]:
    """What the model says of each photo, as `Decision.decide`.

    P(child | parent) comes from the columns `{head}.logits` where `predictions` has them.

    Args:
        predictions: As for `score`; `{head}.logits` is a list of length members times K, or
            members times K - 1 of an ordinal head.
        taxonomy: Gives the heads.
        thresholds: As for `score`.

    Returns:
        Per multiclass and ordinal head class indices, int64 (N,), `MISSING` where the answer of
        its parent allows none; per multilabel head bool (N, K).
    """
    probs = {head.name: _probs(predictions, head) for head in taxonomy.heads}
    given = {
        head.name + GIVEN: _given(predictions, head, taxonomy.allowed_pairs(head))
        for head in taxonomy.heads
        if head.kind != "multilabel"
        and taxonomy.limits(head)
        and f"{head.name}.logits" in predictions
        and len(predictions)
    }
    return _decision(taxonomy, thresholds).decide(probs | given)


def worst_classes(scores: dict[str, Any], limit: float) -> list[dict[str, Any]]:
    """The classes of one head that go wrong more often than `limit`, worst first.

    Args:
        scores: Of one head, as from `score`.
        limit: Largest `error` that is fine, 0 to 1.

    Returns:
        Per class its name, error and support (photos that have it), and what is said instead:
        the most frequent wrong answer, or the shares missed and falsely claimed.
    """
    classes = scores["per_class"]
    found = []
    for row, (name, values) in enumerate(classes.items()):
        if values["error"] is None or values["error"] <= limit:
            continue
        worst = {"class": name, "error": values["error"], "support": values["support"]}
        if "specificity" in values:
            worst["missed"] = _less(values["recall"])
            worst["falsely_claimed"] = _less(values["specificity"])
        else:
            instead = np.array(scores["confusion"][row])
            instead[row] = 0
            worst["mostly_taken_for"] = list(classes)[int(instead.argmax())]
        found.append(worst)
    return sorted(found, key=lambda worst: (-worst["error"], -worst["support"]))


def confident_mistakes(
    predictions: pd.DataFrame,
    photos: pd.DataFrame,
    head: Head,
    taxonomy: Taxonomy,
    thresholds: Thresholds | None = None,
) -> pd.DataFrame:
    """Wrong answers of one head, the surest first.

    Args:
        predictions: As for `score`.
        photos: As for `score`.
        head: Which head.
        taxonomy: All heads: those that imply each other are answered together.
        thresholds: As for `score`.

    Returns:
        `photo_id`, `said` and `true` (class names; of an attribute `no …` where it is absent),
        `probability` of what was said, `probability_of_true`. A photo stands there once per wrong
        attribute.
    """
    probs, truth = _paired(predictions, photos, head)
    said_of = answers(predictions, taxonomy, thresholds)
    names = np.array(head.class_names, dtype=object)
    if head.kind == "multilabel":
        claimed = said_of[head.name]
        rows, which = np.nonzero((claimed != (truth == 1)) & ~np.isnan(truth))
        there = claimed[rows, which]
        absent = "no " + names[which]
        said, true = np.where(there, names[which], absent), np.where(there, absent, names[which])
        sure = np.where(there, probs[rows, which], 1 - probs[rows, which])
        instead = 1 - sure
    else:
        answer = said_of[head.name]
        rows = np.flatnonzero((truth != MISSING) & (answer != MISSING) & (answer != truth))
        said, true = names[answer[rows]], names[truth[rows]]
        sure, instead = probs[rows, answer[rows]], probs[rows, truth[rows]]
    table = pd.DataFrame(
        {
            "photo_id": predictions["photo_id"].to_numpy()[rows],
            "said": said,
            "true": true,
            "probability": sure,
            "probability_of_true": instead,
        }
    )
    return table.sort_values(["probability", "photo_id"], ascending=[False, True], kind="stable")


def in_words(worst: list[dict[str, Any]], limit: float) -> str:
    """Name the worst classes in a sentence: "error above 20% on: …"."""
    if not worst:
        return f"no class with an error above {limit:.0%}"
    told = [_class_in_words(w) for w in worst[:NAMED]]
    if len(worst) > NAMED:
        told.append(f"and {len(worst) - NAMED} more")
    return f"error above {limit:.0%} on: " + ", ".join(told)


def _class_in_words(worst: dict[str, Any]) -> str:
    photos = f"{worst['support']:,} photo{'' if worst['support'] == 1 else 's'}"
    if "mostly_taken_for" in worst:
        instead = f"mostly taken for {worst['mostly_taken_for']}"
        return f"{worst['class']} ({worst['error']:.0%} of {photos}, {instead})"
    parts = []
    if worst["missed"] is not None:
        parts.append(f"missed on {worst['missed']:.0%} of {photos}")
    if worst["falsely_claimed"] is not None:
        parts.append(f"claimed on {worst['falsely_claimed']:.0%} of those without it")
    return f"{worst['class']} ({worst['error']:.0%}: {', '.join(parts)})"


def _given(predictions: pd.DataFrame, head: Head, allowed: np.ndarray) -> np.ndarray:
    """Probabilities of a head for each class of its parent, (N, P, K), mean over its members."""
    members = _members(predictions, head)
    found = np.zeros((len(members), *allowed.shape))
    for row, possible in enumerate(allowed):
        if possible.any():
            opinions = members[:, :, possible]
            opinions = opinions / opinions.sum(axis=2, keepdims=True)
            found[:, row, possible] = opinions.mean(axis=1)
    return found


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


def _decision(taxonomy: Taxonomy, thresholds: Thresholds | None = None) -> Decision:
    chosen = {head: dict(classes) for head, classes in (thresholds or {}).items()}
    return Decision(taxonomy, DecisionRule(thresholds=chosen))


def _alone(head: Head) -> Taxonomy:
    return Taxonomy.model_construct(heads=[head])


def _probs(predictions: pd.DataFrame, head: Head) -> np.ndarray:
    if len(predictions) == 0:
        return np.zeros((0, len(head.classes)))
    return np.stack(predictions[head.name].to_list()).astype(np.float64)


def _paired(
    predictions: pd.DataFrame, photos: pd.DataFrame, head: Head
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and encoded labels of the same photos."""
    labels = photos.drop_duplicates("photo_id").set_index("photo_id")[head.columns]
    labels = labels.loc[predictions["photo_id"]]
    return _probs(predictions, head), _alone(head).encode(labels)[head.name]


def _groups(predictions: pd.DataFrame, photos: pd.DataFrame) -> np.ndarray:
    """A number of the group of each predicted photo, int64 (N,)."""
    ids = predictions["photo_id"]
    if "group" not in photos:
        return np.arange(len(ids))
    named = photos.drop_duplicates("photo_id").set_index("photo_id")["group"].loc[ids]
    codes = pd.factorize(named)[0].astype(np.int64)
    return np.where(codes < 0, len(ids) + np.arange(len(ids)), codes)


def _shared_right(
    name: str, right: np.ndarray, groups: np.ndarray, confidence: float
) -> dict[str, Any]:
    """A share of photos, and the mean of its values in each group, with their intervals."""
    per_group = _per_group(right, groups)
    found = len(np.unique(groups))
    return {
        name: _mean(right),
        f"{name}_interval": by_groups(right, groups, confidence),
        f"{name}_per_group": per_group,
        # Nothing between 0 and 1 varies more than what is either: never too narrow for a mean.
        f"{name}_per_group_interval": wilson((per_group or 0.0) * found, found, confidence),
    }


def _per_group(right: np.ndarray, groups: np.ndarray) -> float | None:
    """The mean over groups of the share that is right in each."""
    if not len(groups):
        return None
    which = np.unique(groups, return_inverse=True)[1]
    return float((np.bincount(which, weights=right) / np.bincount(which)).mean())


def _count_classes(head: Head, said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    known = (truth != MISSING) & (said != MISSING)
    counts = np.zeros((len(head.classes), len(head.classes)), dtype=np.int64)
    np.add.at(counts, (truth[known], said[known]), 1)
    return counts


def _count_attributes(claimed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    there, absent = truth == 1, truth == 0
    columns = [there & claimed, absent & claimed, there & ~claimed, absent & ~claimed]
    return np.stack([column.sum(axis=0) for column in columns], axis=1).astype(np.int64)


def _score_classes(
    head: Head, answer: np.ndarray, truth: np.ndarray, groups: np.ndarray, confidence: float
) -> dict[str, Any]:
    counts = _count_classes(head, answer, truth)
    known = truth != MISSING
    answer, truth, groups = answer[known], truth[known], groups[known]
    n = len(truth)
    per_class = {}
    for k, name in enumerate(head.class_names):
        per_class[name] = _shares(answer == k, truth == k, groups, confidence)
        per_class[name]["error"] = _mean(answer[truth == k] != k)
    result: dict[str, Any] = {
        "n": n,
        "groups": len(np.unique(groups)),
        **_shared_right("accuracy", answer == truth, groups, confidence),
        "balanced_accuracy": _mean_of(per_class, "recall"),
        "macro_f1": _mean_of(per_class, "f1"),
    }
    if head.kind == "ordinal":
        every = np.arange(len(counts))
        apart = np.abs(every[:, None] - every)
        result["quadratic_weighted_kappa"] = _kappa(counts)
        result["mean_absolute_error"] = _ratio((counts * apart).sum(), counts.sum())
    if head.parent is not None:
        result["unanswered"] = n - int(counts.sum())
    return result | {"confusion": counts.tolist(), "per_class": per_class}


def _kappa(counts: np.ndarray) -> float | None:
    """Quadratic weighted kappa (Cohen 1968); None where labels and answers are all one class.

    1 less the squared distance of labels and answers over that of independent ones with the same
    frequencies.
    """
    every = np.arange(len(counts))
    distance = (every[:, None] - every) ** 2
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / max(1, counts.sum())
    expected = (distance * by_chance).sum()
    return float(1 - (distance * counts).sum() / expected) if expected else None


def _score_attributes(
    head: Head,
    probs: np.ndarray,
    claimed: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    *,
    thresholds: np.ndarray,
    confidence: float,
) -> dict[str, Any]:
    known = ~np.isnan(truth)
    counts = _count_attributes(claimed, truth)
    per_class = {}
    for k, name in enumerate(head.class_names):
        hits, in_vain, missed, spared = counts[k].tolist()
        labelled = known[:, k]
        there = truth[labelled, k] == 1
        values = _shares(claimed[labelled, k], there, groups[labelled], confidence)
        values["n"] = int(counts[k].sum())
        values["threshold"] = float(thresholds[k])
        values["specificity"] = _ratio(spared, in_vain + spared)
        errors = [_ratio(missed, hits + missed), _ratio(in_vain, in_vain + spared)]
        both = [error for error in errors if error is not None]
        values["error"] = _mean(both)
        values["average_precision"] = (
            float(metrics.average_precision_score(truth[known[:, k], k], probs[known[:, k], k]))
            if len(both) == 2
            else None
        )
        per_class[name] = values
    # Labels of one photo hang together as photos of one group do.
    of_label = np.broadcast_to(groups[:, None], known.shape)[known]
    right = (claimed == (truth == 1))[known]
    ranked = {k: v for k, v in per_class.items() if v["average_precision"] is not None}
    return {
        "n": int(known.any(axis=1).sum()),
        "groups": len(np.unique(of_label)),
        **_shared_right("accuracy", right, of_label, confidence),
        "balanced_accuracy": _less(_mean_of(ranked, "error")),
        "macro_f1": _mean_of(per_class, "f1"),
        "mean_average_precision": _mean_of(ranked, "average_precision"),
        "confusion": counts.tolist(),
        "per_class": per_class,
    }


def _shares(
    said: np.ndarray, there: np.ndarray, groups: np.ndarray, confidence: float
) -> dict[str, Any]:
    """How well one class is found, from what was said and what is there, both bool (N,)."""
    hits, involved = said & there, said | there
    return {
        "precision": _mean(there[said]),
        "precision_interval": by_groups(there[said], groups[said], confidence),
        "recall": _mean(said[there]),
        "recall_interval": by_groups(said[there], groups[there], confidence),
        "recall_per_group": _per_group(said[there], groups[there]),
        "f1": _ratio(2 * hits.sum(), said.sum() + there.sum()),
        "f1_interval": f1_by_groups(hits, involved, groups, confidence),
        "support": int(there.sum()),
        "groups": len(np.unique(groups[there])),
        "said": int(said.sum()),
    }


def _best_threshold(probs: np.ndarray, truth: np.ndarray, fewest: int) -> float:
    known = ~np.isnan(truth)
    probs, there = probs[known], truth[known] == 1
    if min(there.sum(), (~there).sum()) < max(1, fewest):
        return THRESHOLD
    # From just above the next lower value up to a value, every threshold gives the same answers.
    values, which = np.unique(probs, return_inverse=True)
    lower = np.concatenate([[0.0], values[:-1]])
    middle = (lower + values) / 2
    candidates = np.where(middle > lower, middle, values)  # numbers may have none between them
    candidates[(lower < THRESHOLD) & (values >= THRESHOLD)] = THRESHOLD
    hits = np.bincount(which, weights=there)[::-1].cumsum()[::-1]
    said = np.bincount(which)[::-1].cumsum()[::-1]
    f1 = 2 * hits / (said + there.sum())
    best = candidates[f1 == f1.max()]
    return float(best[np.abs(best - THRESHOLD).argmin()])


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _less(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _mean(values: list[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _mean_of(per_class: dict[str, dict[str, Any]], key: str) -> float | None:
    return _mean([v[key] for v in per_class.values() if v[key] is not None])
