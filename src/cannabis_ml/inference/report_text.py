"""Reports in words, in the language of the report. All words are in `texts/`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from cannabis_ml.inference.language import ROUNDING, texts_in
from cannabis_ml.inference.report import AttributeReport, Band, HeadReport, Report, State

_LEAST_SHOWN = 0.005
"""Alternatives below this are not worth a person's time."""

_DOUBTED = ("retake", "unreliable")

_STATES: tuple[State, ...] = ("present", "unsure", "absent")


class ReportText:
    """The words of one report.

    Args:
        report: What is known.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.texts = texts_in(report.language)

    @property
    def summary(self) -> str:
        """The answers of heads with one answer, in a line."""
        answers = []
        for name, head in self.report.heads.items():
            if head.head.kind == "multilabel":
                continue
            if head.backed_off:
                answers.append(self.texts("summary.unsure", head=self.shown(name)))
            elif isinstance(head.decided, str):
                answer = self.shown(head.decided)
                # "A" alone would not be understood.
                is_grade = head.head.kind == "ordinal"
                answers.append(f"{self.shown(name)} {answer}" if is_grade else answer)
        return ", ".join(answers)

    def lines(self, photo: str = "", heat_map: str | None = None) -> list[str]:
        """The report, line by line; those of a head are indented.

        Args:
            photo: Its name.
            heat_map: Where the heat map was written.
        """
        report = self.report
        answered = self.texts("answered_by", tier=report.tier or "?", runtime=report.runtime)
        title = ": ".join(part for part in (photo, self.summary) if part)
        lines = [f"{title} ({answered})" if title else answered]
        unknown = self.unknown
        lines += [f"  {text}" for text in [*self.faults, *([unknown] if unknown else [])]]
        for name, head in report.heads.items():
            answer = self.answer(head)
            lines.append(f"  {self.shown(name)}: {answer}" if answer else f"  {self.shown(name)}")
            lines += [f"    {text}" for text in self.head(head)]
        if heat_map is not None:
            lines.append(f"  {self.heat_map(heat_map)}")
        return lines + [f"  {text}" for text in self.notes]

    @property
    def faults(self) -> list[str]:
        """One sentence per fault of the photo."""
        return [
            self.texts(f"photo.{fault.name}", width=fault.width, height=fault.height)
            for fault in self.report.photo_faults
        ]

    @property
    def unknown(self) -> str | None:
        """Whether the photo is like those of training; None where that is not known."""
        unknown = self.report.unknown
        if unknown is None:
            return None
        if not unknown.is_unknown:
            return self.texts("unknown.no")
        if unknown.kept is None:
            return self.texts("unknown.yes")
        return self.texts("unknown.yes.kept", mistaken=round(100 * (1 - unknown.kept)))

    def answer(self, head: HeadReport) -> str:
        """The answer of one head; empty of a multilabel head, whose attributes follow."""
        if head.head.kind == "multilabel":
            return ""
        if not isinstance(head.decided, str):
            parent = head.parent_decided
            if head.backed_off or not isinstance(parent, str):
                return self.texts("answer.none")
            return self.texts("answer.not_applicable", parent=self.shown(parent))
        guess = self.shown(head.decided)
        return self.texts("answer.unsure", guess=guess) if head.backed_off else guess

    def head(self, head: HeadReport) -> list[str]:
        """Sentences about one head: what to do, and what that rests on."""
        if head.head.kind == "multilabel":
            sentences = [*self._attributes(head), self.recommendation(head)]
        elif not isinstance(head.decided, str):
            sentences = []
        else:
            sentences = [
                self.recommendation(head),
                self.confidence(head),
                self._ordinal(head),
                None if head.band is None else self.band(head.band),
                self._alternatives(head),
                self.possible(head),
            ]
        return [text for text in sentences if text]

    def recommendation(self, head: HeadReport) -> str | None:
        """What to do with the answer of a head; None where nothing is recommended."""
        if head.attributes:
            return self._attribute_recommendation(head)
        if head.level is None:
            return None
        sentences = [self.texts(f"recommendation.{head.level}")]
        if head.level in _DOUBTED:
            sentences += self.faults or [self.texts("recommendation.photo_is_fine")]
        return " ".join(sentences)

    def confidence(self, head: HeadReport) -> str | None:
        """How sure the answer is; None where there is none."""
        if head.confidence is None or head.raw_confidence is None:
            return None
        raw = self.texts.share(head.raw_confidence, down=True)
        if not head.is_calibrated:
            return self.texts("confidence.uncalibrated", raw=raw)
        calibrated = self.texts.share(head.confidence, down=True)
        return self.texts("confidence", calibrated=calibrated, raw=raw)

    def band(self, band: Band) -> str:
        """The band in a sentence, its ends rounded outwards."""
        if not band.photos:
            return self.texts("band.empty")
        return self.texts(
            "band",
            low=math.floor(100 * band.low + ROUNDING),
            high=math.ceil(100 * band.high - ROUNDING),
            level=self.texts.share(band.level),
            count=band.photos,
        )

    def possible(self, head: HeadReport) -> str | None:
        """The prediction set in a sentence; None where there is none."""
        if head.possible is None or head.coverage is None:
            return None
        coverage = round(100 * head.coverage)
        sentences = [self.texts("set", classes=self._listed(head.possible), coverage=coverage)]
        if head.unlimited:
            sentences.append(self.texts("set.unlimited", classes=self._listed(head.unlimited)))
        return " ".join(sentences)

    def heat_map(self, file: str) -> str:
        """What the heat map shows, or why there is none."""
        drawn = self.report.heat_map
        if drawn is None:
            return self.texts("heat_map.none", tier=self.report.tier or "?")
        if drawn.is_even:
            return self.texts(f"heat_map.{drawn.kind}.even", file=file)
        if drawn.kind == "occlusion":
            return self.texts("heat_map.occlusion", file=file, count=round(100 * drawn.most))
        return self.texts("heat_map.attention", file=file, most=self.texts.number(drawn.most))

    @property
    def notes(self) -> list[str]:
        """What the bundle does not hold."""
        sentences, parts = [], []
        for part, names in self.report.missing.items():
            of_some = 0 < len(names) < len(self.report.heads)
            listed = f" ({self._listed(names)})" if of_some else ""
            parts.append(self.texts(f"missing.{part}") + listed)
        if parts:
            sentences.append(self.texts("missing", parts="; ".join(parts)))
        for rule in self.report.unbounded:
            risk = self.texts.share(rule.alpha)
            heads = self._listed(rule.heads)
            sentences.append(
                self.texts("back_off.unbounded", heads=heads, count=rule.groups, risk=risk)
            )
        return sentences

    def shown(self, name: str) -> str:
        """The name of a class or head as people read it."""
        return self.report.names.get(name) or name.replace("_", " ")

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.shown, names))

    def _ordinal(self, head: HeadReport) -> str:
        """What an ordinal answer, the median, stands on; see `reading`."""
        sure, names = head.sureness, head.classes
        if not sure or not isinstance(head.decided, str):
            return ""
        k, last = names.index(head.decided), len(names) - 1
        sentences = []
        if 0 < k < last:
            probability = self.texts.share(sure["or_better"])
            answer = self.shown(head.decided)
            sentences.append(
                self.texts("ordinal.or_better", answer=answer, probability=probability)
            )
        best, worst = max(0, k - 1), min(last, k + 1)
        if (best, worst) != (0, last):
            sentences.append(
                self.texts(
                    "ordinal.within_one",
                    best=self.shown(names[best]),
                    worst=self.shown(names[worst]),
                    probability=self.texts.share(sure["within_one"]),
                )
            )
        return " ".join(sentences)

    def _alternatives(self, head: HeadReport) -> str | None:
        listed = [
            f"{self.shown(name)} {self.texts.share(probability)}"
            for name, probability in head.alternatives
            if probability >= _LEAST_SHOWN
        ]
        return self.texts("alternatives", classes=", ".join(listed)) if listed else None

    def _attributes(self, head: HeadReport) -> Iterator[str]:
        for state in _STATES:
            these = [one for one in head.attributes if one.state == state]
            if these:
                yield self.texts(f"attributes.{state}", attributes=self._how_sure(these))
            elif state == "present":
                yield self.texts("attributes.present", attributes=self.texts("answer.none"))

    def _how_sure(self, attributes: list[AttributeReport]) -> str:
        """With how sure the state is; where that is unsure, how likely the attribute is there."""
        pairs = [
            (one.probability if one.state == "unsure" else one.confidence, one)
            for one in attributes
        ]
        return ", ".join(
            f"{self.shown(one.name)} {self.texts.share(probability, down=True)}"
            for probability, one in sorted(pairs, key=lambda pair: -pair[0])
        )

    def _attribute_recommendation(self, head: HeadReport) -> str | None:
        if not head.is_calibrated:
            return None
        if any(one.level == "unknown" for one in head.attributes):
            return self.texts("recommendation.unknown")
        level = self.texts.share(self.report.settings.likely)
        doubtful = [one.name for one in head.attributes if one.level in _DOUBTED]
        if not doubtful:
            return self.texts("attributes.reliable", level=level)
        listed = self._listed(doubtful)
        return self.texts(
            "attributes.doubtful", count=len(doubtful), level=level, attributes=listed
        )
