"""Reports: answers with calibrated confidence, alternatives and a recommendation.

    report = Bundle.open("bundle.zip").report("photo.jpg", language="es")
    print(report)
    report["product_type"].level  # "likely"

Facts are here; `report_text` puts them into words, `report_json` into a form for machines. What a
bundle does not hold is left out and named in `Report.missing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.inference.answer import Answer, HeadAnswer, shortest
from cannabis_ml.inference.backoff import BackOff
from cannabis_ml.inference.heat_map import HeatMap
from cannabis_ml.inference.language import DEFAULT_LANGUAGE
from cannabis_ml.inference.photo_faults import PhotoFault
from cannabis_ml.photos.checks.params import DefectParams

Level = Literal["reliable", "likely", "retake", "unreliable", "unknown", "unsure"]
"""What is recommended: by confidence, from best to worst; `unknown` where the photo is unlike those
of training, `unsure` where back-off withholds the answer."""

State = Literal["present", "absent", "unsure"]

Part = Literal["calibration", "bands", "sets", "back_off", "unknown"]
"""What a bundle may lack."""


class ReportSettings(BaseModel):
    """From which calibrated confidence on what is recommended, and what else a report shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reliable: float = 0.90
    likely: float = 0.75
    retake: float = Field(default=0.60, description="From here on: consider retaking the photo")
    alternatives: int = Field(default=3, ge=0, description="Other classes that are named")
    defects: DefectParams = Field(
        default=DefectParams(), description="Thresholds of the checks of the photo"
    )

    @model_validator(mode="after")
    def _check(self) -> ReportSettings:
        if not 0 <= self.retake <= self.likely <= self.reliable <= 1:
            raise ValueError(
                f"levels are {self.reliable}, {self.likely}, {self.retake}: they must fall, within"
                " 0 and 1"
            )
        return self

    def level(self, confidence: float) -> Level:
        """The level of a calibrated confidence, compared as the float32 that models give."""
        confidence = shortest(confidence)
        if confidence >= self.reliable:
            return "reliable"
        if confidence >= self.likely:
            return "likely"
        return "retake" if confidence >= self.retake else "unreliable"


@dataclass(frozen=True)
class Band:
    """Between which shares answers of this confidence were right.

    Attributes:
        low: Lower end, in [0, 1].
        high: Upper end.
        level: How often such a band holds the true share.
        photos: Calibration photos near this confidence.
    """

    low: float
    high: float
    level: float
    photos: int


@dataclass(frozen=True)
class AttributeReport:
    """What is reported of one class of a multilabel head.

    Attributes:
        name: Of the class.
        state: `unsure` where the prediction set holds both, and where the attribute is decided to
            be there though that is less likely than not.
        probability: That it is there, calibrated where the head is.
        raw_probability: The same before calibration.
        confidence: Probability of what was decided, present or absent.
        band: Around `probability`; None where the bundle has none.
        level: Recommendation by `confidence`; None where the head is not calibrated.
    """

    name: str
    state: State
    probability: float
    raw_probability: float
    confidence: float
    band: Band | None
    level: Level | None


@dataclass(frozen=True, eq=False)
class HeadReport(HeadAnswer):
    """What is reported of one head.

    Attributes:
        confidence: Probability of `decided`, calibrated if `is_calibrated`; None of a multilabel
            head, and where nothing is decided.
        is_calibrated: Whether the decision rule has a calibrator for the head; that may be the one
            that leaves probabilities as they are, where no other did better. A head for which
            photos were too few has none.
        band: Around `confidence`; None where the bundle has none.
        alternatives: Other classes with their probabilities, the most probable first.
        possible: The prediction set; None of a multilabel head, and where the bundle has none.
        coverage: How often prediction sets hold the truth; None where the bundle has none.
        unlimited: Classes that are in every prediction set, for want of calibration photos.
        attributes: Of a multilabel head; empty for others.
        backed_off: Whether the answer is withheld, because only a parent's is sure enough or none
            is; None where the bundle has no rule for it.
        level: Recommendation; None of a multilabel head, where nothing is decided, and where the
            head is not calibrated.
    """

    confidence: float | None = None
    is_calibrated: bool = False
    band: Band | None = None
    alternatives: list[tuple[str, float]] = field(default_factory=list)
    possible: list[str] | None = None
    coverage: float | None = None
    unlimited: list[str] = field(default_factory=list)
    attributes: list[AttributeReport] = field(default_factory=list)
    backed_off: bool | None = None
    level: Level | None = None

    @property
    def answer(self) -> str | list[str] | None:
        """What is answered: `decided`, or None where back-off withholds it."""
        return None if self.backed_off else self.decided

    @property
    def raw_confidence(self) -> float | None:
        """Probability of `decided` before calibration."""
        if not isinstance(self.decided, str):
            return None
        return float(self.raw[self.classes.index(self.decided)])

    def in_state(self, state: State) -> list[str]:
        """Names of the attributes that are present, absent or unsure."""
        return [one.name for one in self.attributes if one.state == state]


@dataclass(frozen=True)
class UnknownReport:
    """How unlike the training photos a photo is.

    Attributes:
        is_unknown: Whether the score is above the threshold.
        score: Higher is less known; of a scale of its own, not a probability.
        threshold: The score above which a photo is unknown.
        kept: Share of photos like those of training that the threshold keeps; None if unknown.
    """

    is_unknown: bool
    score: float
    threshold: float
    kept: float | None


@dataclass(frozen=True, eq=False)
class PhotoChecks:
    """What is reported of the photo itself.

    Attributes:
        faults: What a person could avoid by taking it again.
        unknown: None where the tier has no unknown score with a threshold.
        heat_map: Where it was asked for; none by attention of a model file without.
    """

    faults: list[PhotoFault] = field(default_factory=list)
    unknown: UnknownReport | None = None
    heat_map: HeatMap | None = None


@dataclass(frozen=True)
class Gaps:
    """What a report leaves out.

    Attributes:
        missing: As `Report.missing`.
        unbounded: As `Report.unbounded`.
    """

    missing: Mapping[Part, list[str]]
    unbounded: list[BackOff]


@dataclass(frozen=True)
class Wording:
    """How a report is put into words.

    Attributes:
        language: Of the texts.
        names: Of heads and classes for people, by the taxonomy's own.
        settings: The levels.
    """

    language: str = DEFAULT_LANGUAGE
    names: Mapping[str, str] = field(default_factory=dict)
    settings: ReportSettings = field(default_factory=ReportSettings)


class Report(Answer):
    """An answer and how far to trust it: a `HeadReport` by the name of each head.

    Attributes:
        heads: By name, in the taxonomy's order.
        photo_faults: What is wrong with the photo; empty where nothing was found.
        unknown: Whether the photo is unlike those of training; None where the tier has no score.
        heat_map: What the answers rest on; `heat_map.image` is a Pillow image. None where it was
            not asked for, and by attention where the model file gives none.
        missing: What the bundle does not hold and so is left out, with the heads concerned; the
            list is empty for `back_off` and `unknown`, which concern the tier.
        unbounded: Back-off rules that no threshold could be found for; they are not applied.
        settings: The levels.
        language: What `str` and the texts in JSON are in.
        names: Of heads and classes for people, where the taxonomy has some in that language.
    """

    def __init__(
        self,
        answer: Answer,
        heads: Mapping[str, HeadReport],
        checks: PhotoChecks,
        gaps: Gaps,
        wording: Wording,
    ) -> None:
        super().__init__(
            heads,
            tier=answer.tier,
            runtime=answer.runtime,
            embedding=answer.embedding,
            attention=answer.attention,
        )
        self.heads = dict(heads)
        self.photo_faults = checks.faults
        self.unknown = checks.unknown
        self.heat_map = checks.heat_map
        self.missing = dict(gaps.missing)
        self.unbounded = gaps.unbounded
        self.settings = wording.settings
        self.language = wording.language
        self.names = dict(wording.names)

    def __getitem__(self, name: str) -> HeadReport:
        return self.heads[name]

    @property
    def summary(self) -> str:
        """The answers in a line, such as `tomato, condition unsure`."""
        from cannabis_ml.inference.report_text import ReportText

        return ReportText(self).summary

    def in_words(self, photo: str = "", heat_map: str | None = None) -> list[str]:
        """Lines for people, in the language of the report.

        Args:
            photo: Its name, to begin with.
            heat_map: Where the heat map was written.
        """
        from cannabis_ml.inference.report_text import ReportText

        return ReportText(self).lines(photo, heat_map)

    def as_json(self, photo: str | None = None, heat_map: str | None = None) -> dict[str, object]:
        """Plain data for JSON, see `report_json.PhotoReport`.

        Args:
            photo: Its name.
            heat_map: Where the heat map was written.
        """
        from cannabis_ml.inference.report_json import photo_report

        return photo_report(self, photo, heat_map).model_dump(by_alias=True)

    def __str__(self) -> str:
        return "\n".join(self.in_words())

    def __repr__(self) -> str:
        return f"Report({self.summary}, tier={self.tier!r}, runtime={self.runtime!r})"
