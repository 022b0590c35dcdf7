"""What one opinion by itself is worth, before anything is known of its person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.opinions import COLUMNS, LABELLED, VERDICTS, Label
from cannabis_ml.feedback.vetting.params import ConsensusParams, RuleParams
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.text import counted, did_you_mean, normal

NONE_OF_THESE = "none of these"
"""The choice of people who find that no class of a head fits, or propose one."""


def judge_opinions(
    opinions: pd.DataFrame, taxonomy: Taxonomy, rules: RuleParams, consensus: ConsensusParams
) -> pd.DataFrame:
    """Judge every opinion by itself.

    An opinion that cannot be used is refused with its reason; it costs no other.

    Args:
        opinions: As from `opinions_table`; rows in any order. Where a person has several opinions
            on one head of a photo, the latest counts.
        taxonomy: Heads and classes that opinions may name.
        rules: What verdicts are worth.
        consensus: For `seen_confirmation`.

    Returns:
        The rows of people, sorted by opinion_id, with `choice` (class, list of classes,
        `NONE_OF_THESE`, or None), `worth` (probability by the rule that the choice is right; NaN
        without one), `weight` (as a vote, in [0, 1]), `status` (`counted`, `no_choice`,
        `superseded`, `refused`) and `reason`.

    Raises:
        FeedbackError: If columns are missing.
    """
    missing = [name for name in COLUMNS if name not in opinions]
    if missing:
        raise FeedbackError(
            f"The table of opinions lacks {counted(len(missing), 'column')}: {', '.join(missing)}."
            " FeedbackStore.opinions() and opinions_table() give them all."
        )
    judged = opinions[opinions["annotator"] == "person"]
    judged = judged.sort_values("opinion_id", kind="stable").reset_index(drop=True)
    choices = _choices(judged, {head.name: head for head in taxonomy.heads})
    judged["choice"] = pd.Series([c for c, _ in choices], dtype="object")
    faults = pd.Series([fault for _, fault in choices], dtype="object")
    judged["worth"], reasons = _worth(judged, rules)
    judged["weight"] = _weights(judged, consensus)
    judged["status"], judged["reason"] = "counted", reasons
    has_none = judged["choice"].isna()
    judged.loc[has_none, ["status", "reason"]] = ["no_choice", "does not know"]
    judged.loc[has_none, ["worth", "weight"]] = [np.nan, 0.0]
    refused = faults.notna()
    judged.loc[refused, "status"], judged.loc[refused, "reason"] = "refused", faults[refused]
    _supersede(judged)
    idle = judged["status"].isin(["refused", "superseded"])
    judged.loc[idle, ["worth", "weight"]] = [np.nan, 0.0]
    return judged


class _Content(NamedTuple):
    """What decides whether an opinion can be used; many opinions share it."""

    head: str
    verdict: str
    label: str | tuple[str, ...] | None
    has_sound_confidence: bool


def _choices(opinions: pd.DataFrame, heads: dict[str, Head]) -> list[tuple[Label, str | None]]:
    """The choice of each opinion, and why it is refused where it is."""
    columns = ["head", "verdict", "label", "answered", "confidence"]
    known: dict[_Content, tuple[Label, str | None]] = {}
    choices = []
    for head, verdict, own, answered, sure in zip(
        *(opinions[c].tolist() for c in columns), strict=True
    ):
        label = answered if verdict == "confirmed" and _is_nothing(own) else own
        label = tuple(label) if _is_many(label) else None if _is_nothing(label) else label
        content = _Content(head, verdict, label, np.isnan(sure) or 0 <= sure <= 1)
        if content not in known:
            fault = _fault(content, heads.get(head))
            known[content] = (None, fault) if fault else (_choice(content, heads[head]), None)
        choices.append(known[content])
    return choices


def _fault(content: _Content, head: Head | None) -> str | None:
    """Why an opinion cannot be used; None where it can."""
    if head is None:
        return f"the taxonomy has no head '{content.head}'"
    if content.verdict not in VERDICTS:
        return f"the verdict '{content.verdict}' is not one of {', '.join(VERDICTS)}"
    if not content.has_sound_confidence:
        return "the person's confidence is not in [0, 1]"
    if content.verdict in LABELLED and not content.label and not isinstance(content.label, tuple):
        return f"{content.verdict} without a label"
    if content.verdict == "proposed" and not isinstance(content.label, str):
        return "proposed several classes at once"
    return _label_fault(content, head) if content.verdict in ("confirmed", "corrected") else None


def _label_fault(content: _Content, head: Head) -> str | None:
    if (head.kind == "multilabel") != isinstance(content.label, tuple):
        kind = "a list of classes" if head.kind == "multilabel" else "one class"
        return f"'{content.head}' takes {kind}"
    names = content.label if isinstance(content.label, tuple) else (content.label,)
    unknown = [str(name) for name in names if name not in head.class_names]
    if not unknown:
        return None
    near = did_you_mean(unknown[0], head.class_names)
    return f"'{unknown[0]}' is not a class of '{content.head}'{near}"


def _choice(content: _Content, head: Head) -> Label:
    """What is chosen; None where nothing is."""
    if content.verdict == "unsure":
        return None
    if content.verdict == "proposed":
        return _proposed(normal(str(content.label)), head)
    if head.kind == "multilabel":
        return [name for name in head.class_names if name in (content.label or ())]
    return NONE_OF_THESE if content.verdict == "none_of_these" else str(content.label)


def _proposed(name: str, head: Head) -> Label:
    """A class that is there is a correction; a new attribute is not a label of the others."""
    if head.kind == "multilabel":
        return None
    return name if name in head.class_names else NONE_OF_THESE


def _worth(opinions: pd.DataFrame, rules: RuleParams) -> tuple[np.ndarray, np.ndarray]:
    """The source design's rules: worth of each opinion, and in words."""
    model = opinions["answered_confidence"].to_numpy(np.float64)
    stated = opinions["confidence"].to_numpy(np.float64)
    person = np.where(np.isnan(stated), rules.unstated, stated)
    confirmed = (opinions["verdict"] == "confirmed").to_numpy()
    hesitant = ~confirmed & (model > rules.sure_model) & (person < rules.hesitant_person)
    sure = ~confirmed & (model > rules.both_sure_model) & (person > rules.both_sure_person)
    cases = [confirmed, hesitant, sure]
    worth = np.select(
        cases,
        [rules.confirmed, rules.hesitant_correction, rules.both_sure],
        np.minimum(person, rules.largest),
    )
    reasons = np.select(
        cases,
        ["confirmed", "a hesitant correction of a very sure model", "person and model both sure"],
        "a correction, worth the person's confidence",
    ).astype(object)
    reasons[~np.any(cases, axis=0) & np.isnan(stated)] = "a correction without a stated confidence"
    return worth, reasons


def _weights(opinions: pd.DataFrame, consensus: ConsensusParams) -> np.ndarray:
    stated = opinions["confidence"].fillna(1.0).to_numpy(np.float64)
    seen = (opinions["verdict"] == "confirmed") & opinions["seen_answer"].astype(bool)
    factor = np.where(seen, consensus.seen_confirmation, 1.0)
    return np.clip(stated, LEAST_WEIGHT, 1.0) * factor


LEAST_WEIGHT = 0.2
"""Of an opinion by who is not confident at all."""


def _supersede(opinions: pd.DataFrame) -> None:
    usable = opinions[opinions["status"] != "refused"].sort_values(
        ["at", "opinion_id"], kind="stable"
    )
    again = usable.duplicated(["photo_id", "person", "head"], keep="last")
    rows = usable.index[again]
    opinions.loc[rows, "status"] = "superseded"
    opinions.loc[rows, "reason"] = "the same person has a later opinion"


def model_opinions(opinions: pd.DataFrame, head: Head) -> Iterator[tuple[str, Any, float]]:
    """What models answered for photos on one head: photo, label and confidence, each answer once.

    Answers stand beside people's opinions.
    """
    mine = opinions[(opinions["head"] == head.name) & (opinions["annotator"] == "person")]
    columns = ["photo_id", "bundle_id", "tier", "answered", "answered_confidence"]
    answers = set(_triples(mine, columns))
    for photo, _, _, label, confidence in sorted(answers, key=repr):
        if not _is_nothing(label) and 0 <= confidence <= 1:
            yield photo, label, confidence


def _triples(rows: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    for photo, bundle, tier, label, confidence in zip(
        *(rows[c].tolist() for c in columns), strict=True
    ):
        yield photo, bundle, tier, tuple(label) if _is_many(label) else label, float(confidence)


def _is_many(label: Any) -> bool:
    return isinstance(label, list | tuple | np.ndarray)


def _is_nothing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and np.isnan(label)) or label is pd.NA
