"""Reports for machines: the schema of `python -m cannabis_ml.inference --json`.

A field that is there stays, with its meaning; new ones may come. Whatever else changes raises
`REPORT_SCHEMA_VERSION`. `report_schema` writes the documentation from these models.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.answer import shortest
from cannabis_ml.inference.heat_map import HeatMapKind
from cannabis_ml.inference.report import Band, HeadReport, Level, Part, Report, State
from cannabis_ml.inference.report_text import ReportText
from cannabis_ml.taxonomy import Kind

REPORT_SCHEMA_VERSION: Literal[1] = 1


class _Open(BaseModel):
    """Readers pass over fields that came after them."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class BandJSON(_Open):
    """Between which shares answers of this confidence were right."""

    low: float = Field(description="Lower end, 0 to 1")
    high: float = Field(description="Upper end, 0 to 1")
    level: float = Field(description="How often such a band holds the true share")
    photos: int = Field(description="Calibration photos with a confidence near this")
    text: str | None = Field(description="In words; null for a single attribute")


class AlternativeJSON(_Open):
    """Another class."""

    name: str = Field(alias="class", description="Its name in the taxonomy")
    probability: float = Field(description="Calibrated where the head is, 0 to 1")


class PossibleJSON(_Open):
    """The prediction set: classes that are still possible."""

    classes: list[str] = Field(description="In the taxonomy's order")
    coverage: float = Field(description="How often such a set holds the truth, at least")
    text: str = Field(description="In words")


class AttributeJSON(_Open):
    """One class of a multilabel head."""

    name: str = Field(description="Its name in the taxonomy")
    state: State = Field(
        description="`unsure` where the prediction set holds both, and where it is claimed though"
        " less likely than not"
    )
    probability: float = Field(description="That it is there; calibrated where the head is")
    raw_probability: float = Field(description="The same before calibration")
    confidence: float = Field(description="Probability of what was decided, present or absent")
    band: BandJSON | None = Field(description="Around `probability`; null: not in the bundle")
    level: Level | None = Field(description="As of a head, by `confidence`")


class RecommendationJSON(_Open):
    """What to do with an answer."""

    level: Level | None = Field(
        description="By calibrated confidence `reliable`, `likely`, `retake` or `unreliable`;"
        " `unknown`: the photo is unlike those of training; `unsure`: the answer is withheld. null"
        " of a multilabel head, whose attributes have their own, and where it is not calibrated"
    )
    text: str | None = Field(description="In words, with what is wrong with the photo; or null")


class HeadJSON(_Open):
    """The report on one head."""

    kind: Kind = Field(description="`multiclass`, `ordinal` or `multilabel`")
    answer: str | list[str] | None = Field(
        description="The class; of a multilabel head the list of classes that are claimed; null"
        " where the parent's answer allows none, and where it is withheld"
    )
    best_guess: str | list[str] | None = Field(
        description="As `answer`, also where that is withheld"
    )
    backed_off: bool | None = Field(
        description="Whether the answer is withheld because it is not sure enough: take that of the"
        " parent head, if it is not withheld too; null: no rule in the bundle"
    )
    is_calibrated: bool = Field(description="Whether confidence can be read as a chance")
    confidence: float | None = Field(
        description="Probability of `best_guess`, calibrated if `is_calibrated`, 0 to 1; null of a"
        " multilabel head and without an answer"
    )
    raw_confidence: float | None = Field(description="The same before calibration")
    band: BandJSON | None = Field(description="Around `confidence`; null: not in the bundle")
    alternatives: list[AlternativeJSON] = Field(description="Other classes, the likeliest first")
    possible: PossibleJSON | None = Field(
        description="null of a multilabel head, and: not in the bundle"
    )
    attributes: list[AttributeJSON] | None = Field(description="Of a multilabel head; else null")
    recommendation: RecommendationJSON
    or_better: float | None = Field(
        description="Of an ordinal head: probability of the answer or a better class; else null"
    )
    within_one: float | None = Field(
        description="Of an ordinal head: of the answer or one of its neighbors; else null"
    )
    aleatoric: float | None = Field(
        description="Nats, what no further training photo would lessen; null: the file gives none"
    )
    epistemic: float | None = Field(
        description="Nats, what more training photos like this one would lessen; or null"
    )
    probs: dict[str, float] = Field(
        description="By class, as in `confidence`; of a multilabel head each on its own"
    )


class PhotoFaultJSON(_Open):
    """Something wrong with the photo."""

    name: str = Field(
        description="`too_small`, `blurred`, `dark`, `burnt_out`, `almost_uniform`; more may come"
    )
    text: str = Field(description="In words, with advice")


class UnknownJSON(_Open):
    """How unlike the training photos the photo is."""

    is_unknown: bool = Field(description="Whether `score` is above `threshold`")
    score: float = Field(description="Higher is less known; not a probability")
    threshold: float
    text: str = Field(description="In words")


class HeatMapJSON(_Open):
    """The heat map that was asked for."""

    file: str | None = Field(description="Where it was written; null where the model gives none")
    kind: HeatMapKind | None = Field(
        description="`occlusion`: what the answers rest on; `attention`: what was weighed most"
    )
    text: str = Field(description="What it shows, in words")


class PhotoReport(_Open):
    """The report on one photo: a line of the output."""

    schema_version: Literal[1] = REPORT_SCHEMA_VERSION
    photo: str | None = Field(description="As it was given; `-` for standard input")
    language: str = Field(description="Of all `text` fields: `en`, `es`")
    tier: str | None = Field(description="Which tier answered")
    runtime: str = Field(description="What ran it: `litert`, `tensorflow` or `onnxruntime`")
    summary: str = Field(description="The answers in a line, such as `tomato, condition unsure`")
    photo_faults: list[PhotoFaultJSON] = Field(description="Empty where nothing was found")
    unknown: UnknownJSON | None = Field(description="null: the bundle has no such score")
    heads: dict[str, HeadJSON] = Field(description="By head, in the taxonomy's order")
    heat_map: HeatMapJSON | None = Field(description="null: not asked for")
    missing: dict[Part, list[str]] = Field(
        description="What the bundle does not hold: `calibration`, `bands`, `sets`, `back_off`,"
        " `unknown`, with the heads that it is left out of; [] of the last two"
    )
    notes: list[str] = Field(
        description="The same in words, and which back-off no threshold was found for"
    )


class UnansweredPhoto(_Open):
    """What stands in the place of a report where a photo gave none."""

    schema_version: Literal[1] = REPORT_SCHEMA_VERSION
    photo: str = Field(description="As it was given")
    error: str = Field(description="Why, in English")


def photo_report(
    report: Report, photo: str | None = None, heat_map: str | None = None
) -> PhotoReport:
    """The report in the form for machines.

    Args:
        report: What is known.
        photo: Its name.
        heat_map: Where the heat map was written; None if it was not asked for.
    """
    text, unknown = ReportText(report), None
    if report.unknown is not None:
        unknown = UnknownJSON(
            is_unknown=report.unknown.is_unknown,
            score=report.unknown.score,
            threshold=report.unknown.threshold,
            text=text.unknown or "",
        )
    drawn = None
    if heat_map is not None:
        drawn = HeatMapJSON(
            file=None if report.heat_map is None else heat_map,
            kind=None if report.heat_map is None else report.heat_map.kind,
            text=text.heat_map(heat_map),
        )
    return PhotoReport(
        photo=photo,
        language=report.language,
        tier=report.tier,
        runtime=report.runtime,
        summary=text.summary,
        photo_faults=[
            PhotoFaultJSON(name=fault.name, text=sentence)
            for fault, sentence in zip(report.photo_faults, text.faults, strict=True)
        ],
        unknown=unknown,
        heads={name: _head(text, head) for name, head in report.heads.items()},
        heat_map=drawn,
        missing=report.missing,
        notes=text.notes,
    )


def _head(text: ReportText, head: HeadReport) -> HeadJSON:
    possible = None
    if head.possible is not None and head.coverage is not None:
        possible = PossibleJSON(
            classes=head.possible,
            coverage=head.coverage,
            text=text.possible(head) or "",
        )
    sureness = head.sureness
    return HeadJSON(
        kind=head.head.kind,
        answer=head.answer,
        best_guess=head.decided,
        backed_off=head.backed_off,
        is_calibrated=head.is_calibrated,
        confidence=None if head.confidence is None else shortest(head.confidence),
        raw_confidence=None if head.raw_confidence is None else shortest(head.raw_confidence),
        band=None if head.band is None else _band(head.band, text.band(head.band)),
        alternatives=[
            AlternativeJSON(name=name, probability=shortest(probability))
            for name, probability in head.alternatives
        ],
        possible=possible,
        attributes=_attributes(head) if head.head.kind == "multilabel" else None,
        recommendation=RecommendationJSON(level=head.level, text=text.recommendation(head)),
        or_better=sureness.get("or_better"),
        within_one=sureness.get("within_one"),
        aleatoric=head.aleatoric,
        epistemic=head.epistemic,
        probs=head.probabilities,
    )


def _attributes(head: HeadReport) -> list[AttributeJSON]:
    return [
        AttributeJSON(
            name=one.name,
            state=one.state,
            probability=shortest(one.probability),
            raw_probability=shortest(one.raw_probability),
            confidence=shortest(one.confidence),
            band=None if one.band is None else _band(one.band),
            level=one.level,
        )
        for one in head.attributes
    ]


def _band(band: Band, text: str | None = None) -> BandJSON:
    return BandJSON(low=band.low, high=band.high, level=band.level, photos=band.photos, text=text)
