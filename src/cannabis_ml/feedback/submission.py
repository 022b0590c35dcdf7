"""What a client sends: an answer, and what a person thinks of it; checked field by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    ValidationError,
    model_serializer,
    model_validator,
)

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback.fields import (
    ClassName,
    FreeText,
    Identifier,
    Moment,
    PhotoId,
    Share,
    ShortText,
)
from cannabis_ml.feedback.opinions import LABELLED, Annotator, Label, Verdict
from cannabis_ml.taxonomy import Head, Taxonomy

MAX_BYTES = 262_144
"""Bytes of a submission as JSON, without its photo."""

_Labels = Annotated[list[ClassName], Field(max_length=200)]
_Free = (
    FreeText
    | StrictBool
    | Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
)
_Feature = Annotated[float, Field(ge=-60_000, le=60_000, allow_inf_nan=False)]
Read = TypeVar("Read", bound=BaseModel)

PHOTO_FILE = r"^photos/[0-9a-f]{64}\.(jpg|png)$"
"""Where an export has a photo."""

_REASONS = 10
"""Faults that are named; more than these are counted."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AnsweredHead(_Part):
    """What a model answered for one head."""

    label: ClassName | _Labels | None = Field(description="What was decided; None: no class")
    confidence: Share | None = Field(default=None, description="Calibrated, of `label`")
    probs: dict[ClassName, Share] = Field(
        default={}, max_length=1000, description="Calibrated probability by class"
    )


class Answered(_Part):
    """What a model answered for one photo."""

    bundle_id: Identifier
    tier: Identifier
    decision: Identifier | None = Field(
        default=None, description="What was made of the answer, such as `accepted` or `unknown`"
    )
    heads: dict[ClassName, AnsweredHead] = Field(min_length=1, max_length=64)
    embedding: Annotated[tuple[_Feature, ...], Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="Features that the heads saw, as the model file gives them: drift and outliers"
        " are found by them. Kept in half precision, and only with consent",
    )

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without an embedding where there is none: digests of older submissions stay the same."""
        written: dict[str, Any] = write(self)
        if self.embedding is None:
            written.pop("embedding", None)
        return written


class HeadOpinion(_Part):
    """What a person thinks of one head; see `cannabis_ml.feedback.opinions.Verdict`."""

    head: ClassName
    verdict: Verdict
    label: ClassName | _Labels | None = Field(
        default=None,
        description="The right class, or the proposed one's name; may be left out of `confirmed`",
    )
    confidence: Share | None = Field(default=None, description="The person's own")

    @model_validator(mode="after")
    def _check_label(self) -> HeadOpinion:
        if self.verdict in LABELLED - {"confirmed"} and self.label is None:
            raise ValueError(f"'{self.verdict}' needs a label")
        if self.verdict not in LABELLED and self.label is not None:
            raise ValueError(f"'{self.verdict}' has no label")
        if self.verdict == "proposed" and not isinstance(self.label, str):
            raise ValueError("a proposed class is one name, not a list")
        return self


class Submission(_Part):
    """One person's opinions on the heads of one photo, sent together, or an answer alone.

    Sent again with the same key it changes nothing, so a client that got no reply sends it again.
    """

    key: Identifier = Field(description="The client's own, new for every submission: a UUID")
    person: Identifier = Field(description="Pseudonym")
    annotator: Annotator = "person"
    at: Moment = Field(description="When the opinions were given")
    photo_id: PhotoId | None = Field(
        default=None, description="Of a photo that the store knows, where the photo is not sent"
    )
    consent: StrictBool = Field(
        default=False, description="Whether the photo may be kept; without it its id is alone kept"
    )
    answered: Answered | None = None
    seen_answer: StrictBool = Field(
        default=True, description="Whether the person had seen the answer before the opinion"
    )
    opinions: Annotated[tuple[HeadOpinion, ...], Field(max_length=64)] = ()
    device: ShortText | None = None
    region: ShortText | None = Field(default=None, description="Coarse: a country or province")
    metadata: dict[ShortText, _Free] = Field(
        default={}, max_length=32, description="Such as strain or grower"
    )

    @model_validator(mode="after")
    def _check_whole(self) -> Submission:
        faults = list(_contradictions(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def label_of(self, opinion: HeadOpinion) -> Label:
        """The label of an opinion, for `confirmed` the answered one."""
        if opinion.verdict == "confirmed" and opinion.label is None and self.answered:
            return self.answered.heads[opinion.head].label
        return opinion.label

    def digest(self, sent_sha256: str | None) -> str:
        """Hash of all that was sent, by which a repeated key is known to repeat all of it.

        Args:
            sent_sha256: SHA-256 of the photo as sent; None where none was.
        """
        written = self.model_dump(mode="json") | {"sent": sent_sha256}
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


class Record(_Part):
    """A submission of an export, and what the store added when it came."""

    submission: Submission
    digest: PhotoId = Field(description="Hash of all that was sent")
    received_at: Moment
    photo: str | None = Field(default=None, pattern=PHOTO_FILE, description="Exported file")
    sent_sha256: PhotoId | None = Field(default=None, description="Hash of the file as sent")


def read_submission(
    given: bytes | str | Mapping[str, Any], taxonomy: Taxonomy | None = None
) -> Submission:
    """Check what a client sent.

    Args:
        given: JSON, or what it holds.
        taxonomy: Where given, heads and classes must be in it; proposed ones must not.

    Raises:
        FeedbackRefusedError: With a reason per fault.
    """
    submission = read_part(Submission, given)
    if taxonomy is not None:
        check_classes(submission, taxonomy)
    return submission


def read_part(kind: type[Read], given: bytes | str | Mapping[str, Any]) -> Read:
    """Check JSON, or what it holds, as one of the models here.

    Raises:
        FeedbackRefusedError: With a reason per fault.
    """
    if isinstance(given, bytes | str) and len(given) > MAX_BYTES:
        raise FeedbackRefusedError(f"{len(given):,} bytes are more than the {MAX_BYTES:,} allowed")
    try:
        if isinstance(given, bytes | str):
            return kind.model_validate_json(given)
        return kind.model_validate(given)
    except (ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise FeedbackRefusedError(*reasons_of(error)) from None


def check_classes(submission: Submission, taxonomy: Taxonomy) -> None:
    """Hold heads and classes of opinions against a taxonomy.

    Those of the answer are not: another bundle may have had other classes.

    Raises:
        FeedbackRefusedError: With a reason per fault.
    """
    faults = [f for opinion in submission.opinions for f in _class_faults(opinion, taxonomy)]
    if faults:
        raise FeedbackRefusedError(*faults)


def reasons_of(error: Exception) -> list[str]:
    """Name each fault by its field, without the value, which may be anything."""
    if not isinstance(error, ValidationError):
        return ["text that is not Unicode, or nested too deeply"]
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [_reason(fault["loc"], fault["msg"]) for fault in faults[:_REASONS]]
    more = len(faults) - len(reasons)
    return reasons + ([f"and {more:,} more"] if more else [])


def _reason(place: tuple[int | str, ...], message: str) -> str:
    # Parts of a place may be names that strangers gave.
    path = ".".join(str(part)[:40] for part in place[:4]) or "submission"
    path = "".join(c if c.isprintable() and c not in "<>" else "?" for c in path)
    return f"{path}: {message.removeprefix('Value error, ')}"


def _contradictions(submission: Submission) -> Iterator[str]:
    heads = [opinion.head for opinion in submission.opinions]
    for head in sorted({head for head in heads if heads.count(head) > 1}):
        yield f"two opinions on '{head}'"
    if not heads and submission.answered is None:
        yield "neither an answer nor an opinion"
    answers = submission.answered.heads if submission.answered else {}
    for opinion in submission.opinions:
        answer = answers.get(opinion.head)
        if opinion.verdict == "confirmed" and (answer is None or answer.label is None):
            yield f"'{opinion.head}' is confirmed, but was not answered"
        elif opinion.verdict == "confirmed" and opinion.label is not None:
            if not same_label(opinion.label, answer.label if answer else None):
                yield f"'{opinion.head}' is confirmed with another label than the answered one"
        elif (
            opinion.verdict == "corrected"
            and answer is not None
            and same_label(opinion.label, answer.label)
        ):
            yield f"'{opinion.head}' is corrected to what was answered"


def same_label(one: Label, other: Label) -> bool:
    """Whether two labels are the same; of lists the order does not matter."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(one) == sorted(other)
    return one == other


def _class_faults(opinion: HeadOpinion, taxonomy: Taxonomy) -> Iterator[str]:
    heads = {head.name: head for head in taxonomy.heads}
    head = heads.get(opinion.head)
    if head is None:
        yield f"'{opinion.head}' is not a head; heads are {', '.join(heads)}"
    elif opinion.verdict == "proposed":
        if opinion.label in head.class_names:
            yield f"'{opinion.label}' is a class of '{head.name}' already: correct to it"
    elif opinion.label is not None:
        yield from _label_faults(opinion.label, head)


def _label_faults(label: str | list[str], head: Head) -> Iterator[str]:
    if isinstance(label, list) != (head.kind == "multilabel"):
        form = "a list" if head.kind == "multilabel" else "one class"
        yield f"the label of '{head.name}' must be {form}"
        return
    given = label if isinstance(label, list) else [label]
    unknown = sorted(set(given) - set(head.class_names))
    for name in unknown[:_REASONS]:
        yield f"'{name}' is not a class of '{head.name}'"
