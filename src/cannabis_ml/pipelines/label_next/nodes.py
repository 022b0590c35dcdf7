"""Nodes of label_next: look at photos, rank them, find label errors, measure curves, draw, list."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from cannabis_ml._io.photo_files import read_file
from cannabis_ml.feedback.label_next.params import LabelNextParams
from cannabis_ml.feedback.label_next.pool import Candidate, head_to_label, look
from cannabis_ml.feedback.label_next.put_up import to_review
from cannabis_ml.feedback.label_next.ranking import advise_photos, list_label_errors, rank_photos
from cannabis_ml.feedback.label_next.sheet import PhotoAdvice, render_sheet
from cannabis_ml.feedback.label_next.suggested import find_suggestions
from cannabis_ml.feedback.label_studio import PreAnnotation, image_address, task
from cannabis_ml.feedback.review_queue import QueueList
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.decode import decode
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head
from cannabis_ml.text import counted

logger = logging.getLogger(__name__)


def look_at_photos(
    bundle: Bundle,
    photo_set: PhotoSet,
    feedback_store: FeedbackSnapshot,
    feedback_photos: pd.DataFrame,
    label_next: LabelNextParams,
) -> pd.DataFrame:
    """Show training photos and those of feedback to the bundle's models.

    Held-out photos are left out: what is chosen or corrected by them could no longer be judged by
    them.

    Args:
        bundle: Its models give embeddings and answers.
        photo_set: Photos of the training split, with and without labels.
        feedback_store: Photos that people sent.
        feedback_photos: Those of them whose labels were accepted.
        label_next: The head, and how many photos at most.

    Returns:
        As from `pool.look`.
    """
    head = head_to_label(bundle.taxonomy, label_next.head)
    candidates = [
        *_training_photos(photo_set, head),
        *_feedback(feedback_store, feedback_photos, photo_set, head),
    ]
    random = np.random.default_rng(label_next.seed)
    chosen: list[Candidate] = []
    for is_labelled, most in (
        (True, label_next.most_labelled),
        (False, label_next.most_unlabelled),
    ):
        some = [one for one in candidates if (one.label is not None) == is_labelled]
        kept = np.sort(random.permutation(len(some))[:most])
        chosen += [some[i] for i in kept]
    last = label_next.tier or bundle.tiers[-1]
    tiers = [*(tier for tier in bundle.tiers if tier != last), last]
    predictors = {tier: bundle.predictor(tier) for tier in tiers}
    seen = look(chosen, head, predictors)
    labelled = int(seen["label"].notna().sum())
    logger.info(
        "Looked at %s, %s without a label for '%s'",
        counted(len(seen), "photo"),
        f"{len(seen) - labelled:,}",
        head.name,
    )
    return seen


def rank(photos_seen: pd.DataFrame, bundle: Bundle, label_next: LabelNextParams) -> pd.DataFrame:
    """Rank the photos without a label by what their label would teach.

    Args:
        photos_seen: From `look_at_photos`.
        bundle: Gives the head.
        label_next: How many, of which kind.
    """
    return rank_photos(photos_seen, head_to_label(bundle.taxonomy, label_next.head), label_next)


def find_label_errors(
    photos_seen: pd.DataFrame, bundle: Bundle, label_next: LabelNextParams
) -> pd.DataFrame:
    """List training photos whose label is probably wrong.

    Args:
        photos_seen: From `look_at_photos`.
        bundle: Gives the head.
        label_next: How many at most.
    """
    head = head_to_label(bundle.taxonomy, label_next.head)
    return list_label_errors(photos_seen, head, label_next)


def measure_learning_curves(
    photos_seen: pd.DataFrame, bundle: Bundle, label_next: LabelNextParams
) -> PhotoAdvice:
    """Measure what more photos would bring, of all classes and of those with the lowest recall.

    Args:
        photos_seen: From `look_at_photos`.
        bundle: Gives the head.
        label_next: Sizes, target, and of how many classes.
    """
    head = head_to_label(bundle.taxonomy, label_next.head)
    advice = PhotoAdvice(advice=advise_photos(photos_seen, head, label_next))
    for one in advice.advice:
        logger.info("%s", one.text)
    return advice


def draw_contact_sheet(
    label_next: pd.DataFrame,
    label_errors: pd.DataFrame,
    photo_advice: PhotoAdvice,
    feedback_store: FeedbackSnapshot,
) -> str:
    """Draw the photos to label, the probable label errors and the advice as one HTML page.

    Args:
        label_next: From `rank`.
        label_errors: From `find_label_errors`.
        photo_advice: From `measure_learning_curves`.
        feedback_store: What language models suggest.
    """
    return render_sheet(label_next, label_errors, photo_advice, find_suggestions(feedback_store))


def list_label_studio_tasks(
    label_next: pd.DataFrame,
    label_errors: pd.DataFrame,
    bundle: Bundle,
    feedback_store: FeedbackSnapshot,
    settings: LabelNextParams,
) -> list[dict[str, object]]:
    """List both as tasks of Label Studio, with what the model answers filled in.

    After it comes what a language model suggests. Photos drawn for audit come without both: who has
    seen an answer agrees with it too readily.

    Args:
        label_next: From `rank`.
        label_errors: From `find_label_errors`.
        bundle: Which models answered.
        feedback_store: What language models suggest.
        settings: Where Label Studio finds the photos.
    """
    head = head_to_label(bundle.taxonomy, settings.head)
    tier = settings.tier or bundle.tiers[-1]
    answered = partial(PreAnnotation, bundle.manifest.content_sha256, tier)
    prefix, tasks = settings.image_prefix, []
    suggestions = find_suggestions(feedback_store)
    for row in label_next.to_dict("records"):
        shown = None
        if not row["audit"] and isinstance(row["answered"], str):
            confidence = {head.name: float(row["confidence"])}
            shown = answered({head.name: row["answered"]}, confidence)
        details = {name: row[name] for name in ("rank", "kind", "reason")}
        image = image_address(row["path"], prefix)
        suggested = None if row["audit"] else suggestions.of(row["photo_id"])
        tasks.append(task(row["photo_id"], image, shown, details, suggested))
    for row in label_errors.to_dict("records"):
        shown = answered({head.name: row["suggested"]}, {head.name: float(row["suggested_prob"])})
        details = {"kind": "label_error", "reason": row["reason"], "labelled": row["label"]}
        image = image_address(row["path"], prefix)
        tasks.append(task(row["photo_id"], image, shown, details))
    return tasks


def put_up_for_review(
    label_next: pd.DataFrame,
    label_errors: pd.DataFrame,
    bundle: Bundle,
    settings: LabelNextParams,
) -> QueueList:
    """Put both lists up for review, with what the model answers.

    Args:
        label_next: From `rank`.
        label_errors: From `find_label_errors`.
        bundle: Which models answered.
        settings: Gives head and tier.
    """
    head = head_to_label(bundle.taxonomy, settings.head)
    return to_review(
        label_next,
        label_errors,
        head.name,
        (bundle.manifest.content_sha256, settings.tier or bundle.tiers[-1]),
    )


def _training_photos(photo_set: PhotoSet, head: Head) -> Iterator[Candidate]:
    rows = photo_set.rows_of(Split.TRAIN)
    table = photo_set.labels().iloc[rows].reset_index(drop=True)
    labels = table[head.name] if head.name in table else pd.Series(None, index=table.index)
    groups = table["group"] if "group" in table else pd.Series(None, index=table.index)
    for place, row in enumerate(rows):
        yield Candidate(
            str(table["photo_id"][place]),
            str(table["path"][place]) if "path" in table else "",
            groups[place] if isinstance(groups[place], str) else None,
            labels[place] if isinstance(labels[place], str) else None,
            partial(photo_set.pixels, int(row)),
        )


def _feedback(
    store: FeedbackSnapshot, accepted: pd.DataFrame, photo_set: PhotoSet, head: Head
) -> Iterator[Candidate]:
    """Photos of feedback that no photo set has yet."""
    known = set(photo_set.labels("photo_id")["photo_id"])
    labels = (
        dict(zip(accepted["photo_id"], accepted[head.name], strict=True))
        if head.name in accepted
        else {}
    )
    sent = dict(zip(store.photos["photo_id"], store.photos["sent_sha256"], strict=True))
    for photo_id, path in sorted(store.paths.items()):
        if photo_id in known or known.intersection(sent.get(photo_id, ())):
            continue
        label = labels.get(photo_id)
        yield Candidate(
            photo_id, path, None, label if isinstance(label, str) else None, partial(_read, path)
        )


def _read(path: str) -> np.ndarray:
    return decode(read_file(path))
