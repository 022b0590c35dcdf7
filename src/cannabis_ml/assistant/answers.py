"""Forms of answers, made from the taxonomy: whatever a model writes, no other class comes out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from cannabis_ml.feedback.opinions import Label
from cannabis_ml.taxonomy import Head, Taxonomy

NOT_SURE = "(not sure)"
"""What a model answers where the photo does not show enough."""

MOST_ITEMS, LONGEST_TEXT = 12, 300


class Form(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("is not in [0, 1]")
    return value


def clean_text(value: str, longest: int = LONGEST_TEXT) -> str:
    """Text of a model as it may be kept and shown: one line, no markup, no control characters."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in value)
    return " ".join(re.sub(r"[<>]", " ", kept).split())[:longest]


def _short(value: str) -> str:
    return clean_text(value)


def _few(values: list[str]) -> list[str]:
    return [text for text in map(_short, values[:MOST_ITEMS]) if text]


# Limits are checked here and not in the JSON schema, which providers take only parts of.
Confidence = Annotated[float, AfterValidator(_share)]
ShortText = Annotated[str, AfterValidator(_short)]
ShortTexts = Annotated[list[str], AfterValidator(_few)]


class Suggested(Form):
    """What a model suggests for one head, once validated."""

    label: Label
    confidence: Confidence


class PhotoNotes(Form):
    """What a model noticed besides labels."""

    symptoms: ShortTexts = Field(description="Visible symptoms, a few words each")
    needs_review: bool = Field(description="Whether a person should look at the photo first")


def field_names(heads: Sequence[Head]) -> dict[str, str]:
    """A field's name for each head, in letters, digits and underscores, never two alike."""
    names: dict[str, str] = {}
    for number, head in enumerate(heads, 1):
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", head.name).strip("_")
        is_taken = plain in names.values() or plain in PhotoNotes.model_fields
        names[head.name] = f"head_{number}" if not plain or is_taken else plain
    return names


def heads_to_ask(taxonomy: Taxonomy, names: Sequence[str] | None) -> list[Head]:
    """Heads by name; all where none are given.

    Raises:
        KeyError: If one is not in the taxonomy.
    """
    return list(taxonomy.heads) if names is None else [taxonomy[name] for name in names]


def suggestion_form(heads: Sequence[Head]) -> type[Form]:
    """The form of suggested labels: a part per head that takes its classes alone."""
    fields: dict[str, Any] = {
        name: (_head_form(head, f"Head{number}"), Field(description=f"Head '{head.name}'"))
        for number, (head, name) in enumerate(
            zip(heads, field_names(heads).values(), strict=True), 1
        )
    }
    return create_model("Suggestions", __base__=PhotoNotes, **fields)


def _head_form(head: Head, title: str) -> type[Form]:
    kind: Any = Literal[*head.class_names, NOT_SURE]
    about = "One class"
    if head.kind == "multilabel":
        one: Any = Literal[*head.class_names]
        kind = list[one]
        about = "All that are visible; empty where none is"
    fields: dict[str, Any] = {
        "label": (kind, Field(description=about)),
        "confidence": (Confidence, Field(description="Probability that it is right, 0 to 1")),
    }
    return create_model(title, __base__=Form, **fields)


def read_suggestions(
    answer: BaseModel, heads: Sequence[Head], taxonomy: Taxonomy
) -> tuple[dict[str, Suggested], bool]:
    """Labels by head, and whether they contradict each other.

    Heads that the model is not sure of have no label. A class that the suggested class of the
    parent head does not allow is left out.

    Args:
        answer: Of `suggestion_form`.
        heads: The same.
        taxonomy: Which classes go together.
    """
    parts: Mapping[str, Any] = {
        head: getattr(answer, name) for head, name in field_names(heads).items()
    }
    found = {}
    for head in heads:
        label = parts[head.name].label
        if head.kind == "multilabel":
            label = [name for name in head.class_names if name in label]
        none = label == NOT_SURE and NOT_SURE not in head.class_names
        found[head.name] = Suggested(
            label=None if none else label, confidence=parts[head.name].confidence
        )
    refused = [head for head in heads if not _is_allowed(head, found, taxonomy)]
    for head in refused:
        found[head.name] = Suggested(label=None, confidence=found[head.name].confidence)
    return found, bool(refused)


def _is_allowed(head: Head, found: Mapping[str, Suggested], taxonomy: Taxonomy) -> bool:
    own = found[head.name].label
    above = found.get(head.parent or "")
    if own is None or above is None or above.label is None or not taxonomy.limits(head):
        return True
    allowed = (head.allowed or {}).get(str(above.label), [])
    return all(name in allowed for name in (own if isinstance(own, list) else [own]))
