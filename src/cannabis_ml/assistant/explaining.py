"""A report in plain words for the grower; advice only from rules that people wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, create_model, model_validator

from cannabis_ml.assistant.answers import Form, clean_text
from cannabis_ml.assistant.asking import Item, Outcome
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.params import ExplainParams
from cannabis_ml.assistant.prompting import render_prompt
from cannabis_ml.assistant.treatments import TreatmentRule, Treatments, numbers_in
from cannabis_ml.inference.heat_map import HeatMap
from cannabis_ml.inference.report import HeadReport, Report

PROMPT = "explain.v1"

LONGEST = 900
"""Characters of an explanation, at most."""

_SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)|[\u3002\uff01\uff1f]")  # also of Chinese


class WordedRule(BaseModel):
    """A rule as the language model puts it, beside the rule itself."""

    rule: str
    wording: str
    advice: str
    source: str
    date: str


class Explanation(BaseModel):
    """What is shown to a grower."""

    text: str = Field(description="Two or three sentences")
    treatments: list[WordedRule]
    language: str
    model: str = Field(description="Which language model wrote it")


@dataclass(frozen=True)
class Explained:
    """A question for an explanation, and the rules that its answer is held against.

    Attributes:
        item: The question.
        rules: By id.
        language: Of the answer.
    """

    item: Item
    rules: Mapping[str, TreatmentRule]
    language: str


def explanation_question(
    photo: PhotoSource,
    report: Report,
    heat_map: HeatMap | None,
    treatments: Treatments,
    params: ExplainParams,
) -> Explained:
    """A question on one photo.

    Args:
        photo: Sent along.
        report: What was found; it stands, whatever the language model writes.
        heat_map: What the answers rest on; None where nothing was drawn.
        treatments: Rules; those that apply to findings go along.
        params: Language and length.
    """
    rules = treatments.applying(findings_of(report))
    prompt = render_prompt(
        PROMPT,
        language=params.language,
        result=result_of(report),
        looked="unknown" if heat_map is None else where_it_lies(heat_map),
        rules=[{"rule": name, "advice": rule.advice} for name, rule in rules.items()],
    )
    form = explanation_form(rules)
    item = Item(photo.photo_id, prompt, form, params.most_tokens, (photo,))
    return Explained(item, rules, params.language)


def explanation_form(rules: Mapping[str, TreatmentRule]) -> type[Form]:
    """The form of an answer: two or three sentences, and a wording of each rule.

    An answer is not valid if it leaves out a rule, makes one up, or has a number that the rule does
    not have.
    """
    if not rules:
        return create_model("Explanation", __base__=_Text)
    identifier: Any = Literal[*rules]
    fields: dict[str, Any] = {
        "rule": (identifier, Field(description="Its id")),
        "wording": (str, Field(description="In one or two plain sentences")),
    }
    wording = create_model("Treatment", __base__=Form, **fields)

    def check(answer: Any) -> Any:
        given = [one.rule for one in answer.treatments]
        if sorted(given) != sorted(rules):
            raise ValueError(f"uses the rules {given}, not each of {list(rules)} once")
        for one in answer.treatments:
            more = numbers_in(one.wording) - numbers_in(rules[one.rule].advice)
            if more:
                raise ValueError(f"rule '{one.rule}' has no number {', '.join(sorted(more))}")
        return answer

    listed: dict[str, Any] = {
        "treatments": (list[wording], Field(description="Each given rule once")),
    }
    validators: dict[str, Any] = {"check_rules": model_validator(mode="after")(check)}
    return create_model("Explanation", __base__=_Text, __validators__=validators, **listed)


class _Text(Form):
    text: str = Field(description="Two or three sentences")

    @model_validator(mode="after")
    def _check_length(self) -> _Text:
        text = " ".join(self.text.split())
        sentences = len(_SENTENCE_END.findall(text))
        if not 2 <= sentences <= 3:
            raise ValueError(f"text has {sentences} sentences, not two or three")
        if len(text) > LONGEST:
            raise ValueError(f"text has {len(text)} characters, more than {LONGEST}")
        return self


def read_explanation(asked: Explained, outcome: Outcome, model: str) -> Explanation:
    """What is shown, with each rule as people wrote it beside its wording."""
    answer: Any = outcome.answer
    worded = [
        WordedRule(
            rule=one.rule,
            wording=clean_text(one.wording),
            advice=asked.rules[one.rule].advice,
            source=asked.rules[one.rule].source,
            date=asked.rules[one.rule].date.isoformat(),
        )
        for one in getattr(answer, "treatments", ())
    ]
    text = clean_text(answer.text, LONGEST)
    return Explanation(text=text, treatments=worded, language=asked.language, model=model)


def findings_of(report: Report) -> Iterable[tuple[str, str]]:
    """Head and class of all that was found and is not withheld."""
    for name, head in report.heads.items():
        if head.head.kind == "multilabel":
            yield from ((name, one.name) for one in head.attributes if one.state == "present")
        elif isinstance(head.decided, str) and head.level not in ("unknown", "unsure"):
            yield name, head.decided


def result_of(report: Report) -> dict[str, object]:
    """The report as the prompt shows it."""
    return {name: _head_of(head) for name, head in report.heads.items()}


def _head_of(head: HeadReport) -> dict[str, object]:
    if head.head.kind == "multilabel":
        there = [one.name for one in head.attributes if one.state == "present"]
        return {
            "present": there,
            "unsure": [o.name for o in head.attributes if o.state == "unsure"],
        }
    found: dict[str, object] = {"class": head.decided, "recommendation": head.level}
    if head.confidence is not None:
        found["confidence"] = round(float(head.confidence), 2)
    looks = {one.name: one.about for one in head.head.classes}
    if isinstance(head.decided, str) and looks.get(head.decided):
        found["looks_like"] = looks[head.decided]
    return found


_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "center", "right")


def where_it_lies(heat_map: HeatMap) -> str:
    """In words, which ninths of the photo's centre square an answer rests on most."""
    if heat_map.is_even:
        return "on no part more than on others"
    cells = np.clip(np.asarray(heat_map.cells, np.float64), 0, None)
    parts = [np.array_split(row, 3, axis=1) for row in np.array_split(cells, 3, axis=0)]
    means = np.array([[part.mean() for part in row] for row in parts])
    strong = np.argwhere(means >= means.max() / 2)
    places = [f"{_ROWS[y]} {_COLUMNS[x]}" for y, x in strong]
    return f"mainly in these parts of the photo: {', '.join(places)}"
