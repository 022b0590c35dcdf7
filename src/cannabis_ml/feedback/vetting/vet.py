"""Vetting: from the table of opinions to labels that may be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cannabis_ml.feedback.vetting.assistants import (
    answers_of,
    judge_assistants,
    suggestions,
    waiting,
)
from cannabis_ml.feedback.vetting.consensus import Consensus, find_consensus
from cannabis_ml.feedback.vetting.decisions import (
    Decided,
    decide,
    hold_back,
    quarantined_photos,
)
from cannabis_ml.feedback.vetting.outliers import Embedded, outlier_p_values
from cannabis_ml.feedback.vetting.params import VettingParams
from cannabis_ml.feedback.vetting.people import judge_people
from cannabis_ml.feedback.vetting.proposals import count_proposals
from cannabis_ml.feedback.vetting.questions import Questions, ask, model_table
from cannabis_ml.feedback.vetting.rules import judge_opinions, model_opinions
from cannabis_ml.photo_sets.label_checks import is_excluded
from cannabis_ml.taxonomy import Head, Taxonomy


@dataclass(frozen=True)
class Evidence:
    """What is known beside opinions.

    Attributes:
        known: Labels of gold photos, as from `FeedbackStore.gold`: `photo_id`, `head` and `label`.
            Photos whose label is known are not in the result.
        answers: Calibrated probabilities of models: `photo_id`, `head` and `probs` (a dict by
            class; empty where not kept), as from the store. Without them the answered class and
            its confidence, which stand beside opinions, speak for the model.
        embeddings: Of photos that opinions are about.
        reference: Of training photos, with their labels, to find outliers by.
    """

    known: pd.DataFrame | None = None
    answers: pd.DataFrame | None = None
    embeddings: Embedded | None = None
    reference: Embedded | None = None


@dataclass(frozen=True)
class Vetted:
    """What vetting found.

    Attributes:
        photos: One row per photo and head, sorted: `photo_id`, `head`, `label` (str; of a
            multilabel head the list of its attributes that are there; None without one),
            `confidence` (that it is right; of a multilabel head that of its least sure attribute),
            `opinions` (how many people's count), `status` (`accepted`, `undecided`, `refused`,
            `quarantined`) and `reason`.
        attributes: The same for each attribute of multilabel heads, with `attribute`; `label` is
            `present` or `absent`. Some may be accepted where the head as a whole is not.
        people: See `judge_people`; and language models, see `judge_assistants`.
        opinions: Every person's opinion with `status`, `worth`, `weight` and `reason`; see
            `judge_opinions`, and `quarantined`.
        proposals: See `count_proposals`.
        heads: One row per head: `head`, `method`, `votes`, `model_power` (to which the model's
            probabilities were raised: 1 as calibrated, 0 ignored), `iterations`, `converged`.
    """

    photos: pd.DataFrame
    attributes: pd.DataFrame
    people: pd.DataFrame
    opinions: pd.DataFrame
    proposals: pd.DataFrame
    heads: pd.DataFrame


def vet_opinions(
    opinions: pd.DataFrame,
    taxonomy: Taxonomy,
    params: VettingParams,
    evidence: Evidence | None = None,
) -> Vetted:
    """Turn opinions into labels, each with its probability, status and reason.

    A pure function of its arguments, whatever the order of rows: quarantining people, or taking
    that back, is vetting again with other parameters.

    Args:
        opinions: As from `opinions_table`.
        taxonomy: Heads and classes.
        params: Rules, consensus, quarantine and caps.
        evidence: What is known beside opinions; None for nothing.

    Raises:
        FeedbackError: If columns are missing.
    """
    evidence = evidence or Evidence()
    judged = judge_opinions(opinions, taxonomy, params.rules, params.consensus)
    tables = {head.name: _model(opinions, head, evidence) for head in taxonomy.heads}
    judged, agreed, people = _without_quarantined(judged, taxonomy, tables, params, evidence)
    suggested = suggestions(opinions, taxonomy)
    # Apart from people: a language model may be called as a person is.
    assistants = people.iloc[:0]
    if not suggested.empty:
        assistants = judge_assistants(suggested, taxonomy, agreed, params.people)
        tables = {
            head.name: _model(opinions, head, evidence, answers_of(suggested, assistants, head))
            for head in taxonomy.heads
        }
        agreed = _agree(judged, taxonomy, tables, params, evidence)
        people = _seen_anew(people, agreed, params)
    parts, attributes = [], []
    for questions, consensus in agreed:
        decided = decide(questions, consensus, judged, people, params)
        decided = _hold_outliers(decided, questions, params, evidence)
        tasks = hold_back(decided, judged, people, params)
        if questions.head.kind == "multilabel":
            tasks = _with_attributes(tasks, questions)
            attributes.append(tasks)
            tasks = _as_lists(tasks, questions.head)
        parts.append(tasks.assign(head=questions.head.name))
    parts.append(_left_out(judged, people))
    parts.append(waiting(suggested, _joined(parts, PHOTO_COLUMNS)))
    photos = _without_known(_joined(parts, PHOTO_COLUMNS), evidence.known)
    photos = _refuse_impossible(photos, taxonomy)
    return Vetted(
        photos=photos.sort_values(["photo_id", "head"], ignore_index=True),
        attributes=_joined(attributes, ATTRIBUTE_COLUMNS),
        people=pd.concat([people, assistants], ignore_index=True),
        opinions=judged,
        proposals=count_proposals(judged, people, photos, params.proposals),
        heads=_heads(agreed, params),
    )


PHOTO_COLUMNS = ("photo_id", "head", "label", "confidence", "opinions", "status", "reason")

ATTRIBUTE_COLUMNS = ("photo_id", "head", "attribute", *PHOTO_COLUMNS[2:])


def label_table(vetted: Vetted, taxonomy: Taxonomy) -> pd.DataFrame:
    """Accepted labels in the taxonomy's label columns.

    Args:
        vetted: From `vet_opinions`.
        taxonomy: The same.

    Returns:
        One row per photo that has any, sorted: `photo_id` and the label columns: text, or Int8 for
        an attribute; missing where nothing was accepted.
    """
    accepted = vetted.photos[vetted.photos["status"] == "accepted"]
    attributes = vetted.attributes[vetted.attributes["status"] == "accepted"]
    photos = sorted({*accepted["photo_id"], *attributes["photo_id"]})
    table = pd.DataFrame(index=pd.Index(photos, name="photo_id", dtype="str"))
    for head in taxonomy.heads:
        if head.kind == "multilabel":
            mine = attributes[attributes["head"] == head.name]
            wide = mine.assign(is_there=(mine["label"] == "present").astype(int)).pivot(
                index="photo_id", columns="attribute", values="is_there"
            )
            wide = wide.reindex(index=table.index, columns=head.class_names).astype("Int8")
            table[head.columns] = wide.set_axis(head.columns, axis=1)
        else:
            labels = accepted[accepted["head"] == head.name].set_index("photo_id")["label"]
            table[head.name] = labels.reindex(table.index).astype("str")
    return table.reset_index()


def changes(before: Vetted, after: Vetted) -> pd.DataFrame:
    """What another vetting made of photos: what to take back after somebody's quarantine.

    Returns:
        The rows of photos and heads whose label or status differs, sorted: `photo_id`, `head`,
        and `label`, `status` and `reason` with suffixes `_before` and `_after`.
    """
    columns = ["photo_id", "head", "label", "status", "reason"]
    both = before.photos[columns].merge(
        after.photos[columns], how="outer", on=["photo_id", "head"], suffixes=("_before", "_after")
    )
    parts = [both[f"{c}_{side}"].map(repr) for side in ("before", "after") for c in columns[2:4]]
    differs = (parts[0] != parts[2]) | (parts[1] != parts[3])
    return both[differs].sort_values(["photo_id", "head"], ignore_index=True)


def _model(
    opinions: pd.DataFrame,
    head: Head,
    evidence: Evidence,
    suggested: Iterable[tuple[str, Any, float]] = (),
) -> pd.DataFrame:
    probs = None
    if evidence.answers is not None:
        mine = evidence.answers[evidence.answers["head"] == head.name]
        mine = mine[mine["probs"].map(bool).astype(bool)]
        probs = pd.DataFrame(
            list(mine["probs"]), index=mine["photo_id"].to_numpy(object), columns=head.class_names
        ).astype(float)
    return model_table([*model_opinions(opinions, head), *suggested], probs, head)


def _without_quarantined(
    judged: pd.DataFrame,
    taxonomy: Taxonomy,
    tables: dict[str, pd.DataFrame],
    params: VettingParams,
    evidence: Evidence,
) -> tuple[pd.DataFrame, list[tuple[Questions, Consensus]], pd.DataFrame]:
    """Find the consensus without quarantined people, and judge all people.

    Without some people others may look worse, so this is repeated until nobody is quarantined.
    What is known of quarantined people is from the round that quarantined them.
    """
    listed = params.people.model_copy(update={"quarantine_below": 0.0})
    set_aside: list[pd.DataFrame] = []
    while True:
        agreed = _agree(judged, taxonomy, tables, params, evidence)
        # People who are quarantined by configuration do not count in judging the others.
        people = judge_people(agreed, listed)
        if not people["quarantined"].any():
            people = judge_people(agreed, params.people)
        poor = people[people["quarantined"]]
        if poor.empty:
            break
        set_aside.append(poor)
        reasons = poor.set_index("person")["reason"]
        out = judged["person"].isin(reasons.index) & (judged["status"] == "counted")
        judged = judged.copy()
        judged.loc[out, "status"] = "quarantined"
        judged.loc[out, "reason"] = judged.loc[out, "person"].map(reasons).to_numpy()
        judged.loc[out, "weight"] = 0.0
    everybody = pd.concat([people, *set_aside])
    return judged, agreed, everybody.sort_values("person", ignore_index=True)


def _agree(
    judged: pd.DataFrame,
    taxonomy: Taxonomy,
    tables: dict[str, pd.DataFrame],
    params: VettingParams,
    evidence: Evidence,
) -> list[tuple[Questions, Consensus]]:
    """The tasks of every head that anybody spoke on, and what is agreed on."""
    agreed = []
    for head in taxonomy.heads:
        questions = ask(judged, head, evidence.known, tables[head.name], params.consensus)
        if len(questions.votes):
            votes, types = questions.votes, questions.archetypes
            consensus = find_consensus(votes, types, questions.prior, params.consensus)
            agreed.append((questions, consensus))
    return agreed


def _seen_anew(
    people: pd.DataFrame, agreed: list[tuple[Questions, Consensus]], params: VettingParams
) -> pd.DataFrame:
    """People judged with what language models suggest, which quarantines nobody."""
    free = params.people.model_copy(update={"quarantine_below": 0.0})
    anew = judge_people(agreed, free)
    aside = people[people["quarantined"] & ~people["person"].isin(anew["person"])]
    return pd.concat([anew, aside], ignore_index=True)


def _hold_outliers(
    decided: Decided, questions: Questions, params: VettingParams, evidence: Evidence
) -> Decided:
    """Leave undecided what one person alone chose for a photo unlike those of that class."""
    embedded, reference = evidence.embeddings, evidence.reference
    if embedded is None or reference is None or questions.head.kind == "multilabel":
        return decided
    tasks = decided.tasks
    rows = decided.alone["row"].unique()
    chosen = tasks.iloc[rows][["photo_id", "label"]].reset_index(drop=True)
    p_values = outlier_p_values(embedded, reference, chosen, questions.head, params.outliers)
    odd = p_values < params.outliers.below
    tasks = tasks.copy()
    tasks.loc[rows[odd], "status"] = "undecided"
    tasks.loc[rows[odd], "reason"] = [
        f"{tasks['reason'][row]}; held back: unlike training photos of this class (p = {p:.3f}),"
        " until somebody else agrees"
        for row, p in zip(rows[odd], p_values[odd], strict=True)
    ]
    return replace(decided, tasks=tasks)


def _with_attributes(tasks: pd.DataFrame, questions: Questions) -> pd.DataFrame:
    names = np.array(questions.head.class_names, dtype=object)
    return tasks.assign(
        head=questions.head.name, attribute=names[tasks["task"] % questions.per_photo]
    )


def _as_lists(tasks: pd.DataFrame, head: Head) -> pd.DataFrame:
    """One row per photo: accepted where all attributes are; the least sure one's reason."""
    count = len(head.class_names)
    whole = tasks.groupby("photo_id")["task"].transform("size") == count
    tasks = tasks[whole]
    order = tasks.sort_values(["photo_id", "task"], ignore_index=True)
    accepted = (order["status"] == "accepted").to_numpy().reshape(-1, count)
    confidence = order["confidence"].to_numpy().reshape(-1, count)
    present = (order["label"] == "present").to_numpy().reshape(-1, count)
    names = np.array(head.class_names, dtype=object)
    # An attribute that is held back decides, before one that is less sure.
    least = np.where(accepted, confidence + 1, confidence).argmin(axis=1)
    picked = order.iloc[np.arange(len(least)) * count + least].reset_index(drop=True)
    picked["label"] = pd.Series([list(names[row]) for row in present], dtype="object")
    picked["status"] = np.where(accepted.all(axis=1), "accepted", "undecided")
    picked["confidence"] = confidence.min(axis=1, initial=1.0)
    picked["reason"] = "least sure: " + picked["attribute"] + ": " + picked["reason"]
    return picked.drop(columns="attribute")


def _left_out(judged: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Photos and heads without a single vote: quarantined, undecided or refused."""
    keys = ["photo_id", "head"]
    voted = judged.loc[judged["status"] == "counted", keys].drop_duplicates()
    rest = judged[judged["status"] != "superseded"]
    rest = rest.merge(voted, on=keys, how="left", indicator="voted")
    rest = rest[rest["voted"] == "left_only"]
    aside = quarantined_photos(rest, dict(zip(people["person"], people["reason"], strict=True)))
    aside = aside.assign(status="quarantined")
    rest = rest.merge(aside[keys], on=keys, how="left", indicator="aside")
    rest = rest[rest["aside"] == "left_only"].sort_values([*keys, "opinion_id"])
    rest = rest.assign(idle=rest["status"].eq("no_choice"))
    parts = [aside]
    for status, rows in (("undecided", rest[rest["idle"]]), ("refused", rest[~rest["idle"]])):
        table = rows.groupby(keys, sort=True).agg(
            opinions=("person", "nunique"), reason=("reason", _most_common)
        )
        parts.append(table.reset_index().assign(status=status))
    joined = pd.concat(parts).drop_duplicates(keys)
    return joined.assign(label=None, confidence=np.nan)


def _most_common(reasons: pd.Series) -> str:
    return str(reasons.value_counts().sort_index(kind="stable").idxmax())


def _refuse_impossible(photos: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Refuse accepted labels of a head that the accepted label of its parent does not allow."""
    accepted = photos["status"] == "accepted"
    for head in taxonomy.heads:
        if head.parent is None or head.kind == "multilabel":
            continue
        mine = photos[accepted & (photos["head"] == head.name)]
        above = photos[accepted & (photos["head"] == head.parent)].set_index("photo_id")["label"]
        pairs = pd.DataFrame(
            {head.name: mine["label"], head.parent: mine["photo_id"].map(above)}, index=mine.index
        )
        rows = mine.index[is_excluded(head, pairs)]
        photos.loc[rows, "status"] = "refused"
        photos.loc[rows, "reason"] = [
            f"{photos['reason'][row]}; refused: not possible where {head.parent} is"
            f" '{pairs[head.parent][row]}'"
            for row in rows
        ]
    return photos


def _without_known(photos: pd.DataFrame, known: pd.DataFrame | None) -> pd.DataFrame:
    if known is None:
        return photos
    pairs = pd.MultiIndex.from_frame(photos[["photo_id", "head"]])
    is_known = pairs.isin(pd.MultiIndex.from_frame(known[["photo_id", "head"]]))
    return photos[~is_known].reset_index(drop=True)


def _joined(parts: Sequence[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows of all parts, in `columns` and their types."""
    full = [part[list(columns)].astype({"label": "object"}) for part in parts if len(part)]
    table = pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=list(columns))
    text = [c for c in columns if c not in ("label", "confidence", "opinions")]
    return table.astype(
        {
            **dict.fromkeys(text, "str"),
            "label": "object",
            "confidence": "float64",
            "opinions": "int64",
        }
    )


def _heads(agreed: list[tuple[Questions, Consensus]], params: VettingParams) -> pd.DataFrame:
    rows = [
        (
            questions.head.name,
            params.consensus.method,
            len(questions.votes),
            consensus.model_power,
            consensus.iterations,
            consensus.converged,
        )
        for questions, consensus in agreed
    ]
    columns = ["head", "method", "votes", "model_power", "iterations", "converged"]
    return pd.DataFrame(rows, columns=columns)
