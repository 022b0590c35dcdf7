"""Reports in words, in the language of the report. All words are in `texts/`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cannabis_ml.inference.heat_map import EVEN, relative_weights
from cannabis_ml.inference.language import ROUNDING, Texts, texts_in
from cannabis_ml.inference.report import AttributeReport, Band, HeadReport, Report, State

_LEAST_SHOWN = 0.005
"""Alternatives below this are not worth a person's time."""

_DOUBTED = ("retake", "unreliable")

_STATES: tuple[State, ...] = ("present", "unsure", "absent")


def summary(report: Report) -> str:
    """The answers of heads with one answer, in a line."""
    texts = texts_in(report.language)
    said = []
    for name, head in report.heads.items():
        if head.head.kind == "multilabel":
            continue
        if head.backed_off:
            said.append(texts("summary.unsure", head=shown(name)))
        elif isinstance(head.decided, str):
            # "A" alone would not be understood.
            is_grade = head.head.kind == "ordinal"
            said.append(f"{shown(name)} {shown(head.decided)}" if is_grade else shown(head.decided))
    return ", ".join(said)


def lines(report: Report, photo: str = "", heat_map: str | None = None) -> list[str]:
    """A report, line by line; those of a head are indented.

    Args:
        report: What is known.
        photo: Its name.
        heat_map: Where the heat map was written.
    """
    texts = texts_in(report.language)
    answered = texts("answered_by", tier=report.tier or "?", runtime=report.runtime)
    title = ": ".join(part for part in (photo, summary(report)) if part)
    found = [f"{title} ({answered})" if title else answered]
    found += [f"  {text}" for text in photo_lines(report)]
    for name, head in report.heads.items():
        label = f"  {shown(name)}"
        answer = answer_text(report, head)
        found.append(f"{label}: {answer}" if answer else label)
        found += [f"    {text}" for text in head_lines(report, head)]
    if heat_map is not None:
        found.append(f"  {heat_map_text(report, heat_map)}")
    return found + [f"  {text}" for text in notes(report)]


def photo_lines(report: Report) -> list[str]:
    """About the photo itself: its faults, and whether it is like those of training."""
    text = unknown_text(report)
    return fault_texts(report) + ([] if text is None else [text])


def fault_texts(report: Report) -> list[str]:
    """One sentence per fault of the photo."""
    texts = texts_in(report.language)
    return [
        texts(f"photo.{fault.name}", width=fault.width, height=fault.height)
        for fault in report.photo_faults
    ]


def unknown_text(report: Report) -> str | None:
    """Whether the photo is like those of training; None where that is not known."""
    found, texts = report.unknown, texts_in(report.language)
    if found is None:
        return None
    if not found.is_unknown:
        return texts("unknown.no")
    if found.kept is None:
        return texts("unknown.yes")
    return texts("unknown.yes.kept", mistaken=round(100 * (1 - found.kept)))


def answer_text(report: Report, head: HeadReport) -> str:
    """The answer of one head; empty of a multilabel head, whose attributes follow."""
    texts = texts_in(report.language)
    if head.head.kind == "multilabel":
        return ""
    if not isinstance(head.decided, str):
        parent = head.parent_decided
        if head.backed_off or not isinstance(parent, str):
            return texts("answer.none")
        return texts("answer.not_applicable", parent=shown(parent))
    if head.backed_off:
        return texts("answer.unsure", guess=shown(head.decided))
    return shown(head.decided)


def head_lines(report: Report, head: HeadReport) -> list[str]:
    """Sentences about one head: what to do, and what that rests on."""
    texts = texts_in(report.language)
    if head.head.kind == "multilabel":
        attributes = [*_attribute_lines(texts, head), recommendation_text(report, head)]
        return [text for text in attributes if text]
    if not isinstance(head.decided, str):
        return []
    found = [
        recommendation_text(report, head),
        confidence_text(texts, head),
        *_ordinal_lines(texts, head),
        None if head.band is None else band_text(texts, head.band),
        _alternatives(texts, head),
        set_text(texts, head),
    ]
    return [text for text in found if text]


def recommendation_text(report: Report, head: HeadReport) -> str | None:
    """What to do with the answer of a head; None where there is nothing to tell."""
    texts = texts_in(report.language)
    if head.attributes:
        return _attribute_recommendation(report, head)
    if head.level is None:
        return None
    said = [texts(f"recommendation.{head.level}")]
    if head.level in _DOUBTED:
        said += fault_texts(report) or [texts("recommendation.photo_is_fine")]
    return " ".join(said)


def confidence_text(texts: Texts, head: HeadReport) -> str | None:
    """How sure the answer is; None where there is none."""
    if head.confidence is None or head.raw_confidence is None:
        return None
    raw = texts.share(head.raw_confidence, down=True)
    if not head.is_calibrated:
        return texts("confidence.uncalibrated", raw=raw)
    return texts("confidence", calibrated=texts.share(head.confidence, down=True), raw=raw)


def band_text(texts: Texts, band: Band) -> str:
    """The band in a sentence, its ends rounded outwards."""
    if not band.photos:
        return texts("band.empty")
    return texts(
        "band",
        low=math.floor(100 * band.low + ROUNDING),
        high=math.ceil(100 * band.high - ROUNDING),
        level=texts.share(band.level),
        count=band.photos,
    )


def set_text(texts: Texts, head: HeadReport) -> str | None:
    """The prediction set in a sentence; None where there is none."""
    if head.possible is None or head.coverage is None:
        return None
    listed = ", ".join(shown(name) for name in head.possible)
    said = [texts("set", classes=listed, coverage=round(100 * head.coverage))]
    if head.unlimited:
        said.append(texts("set.unlimited", classes=", ".join(map(shown, head.unlimited))))
    return " ".join(said)


def heat_map_text(report: Report, file: str) -> str:
    """What the heat map shows, or why there is none."""
    texts = texts_in(report.language)
    if report.attention is None:
        return texts("heat_map.none", tier=report.tier or "?")
    most = float(relative_weights(report.attention).max())
    if most < EVEN:
        return texts("heat_map.even", file=file)
    return texts("heat_map", file=file, most=texts.number(most))


def notes(report: Report) -> list[str]:
    """What the bundle does not hold."""
    texts, said = texts_in(report.language), []
    if report.missing:
        parts = []
        for part, names in report.missing.items():
            of_some = 0 < len(names) < len(report.heads)
            listed = f" ({', '.join(map(shown, names))})" if of_some else ""
            parts.append(texts(f"missing.{part}") + listed)
        said.append(texts("missing", parts="; ".join(parts)))
    for rule in report.unbounded:
        heads = ", ".join(shown(name) for name in rule.heads)
        risk = texts.share(rule.alpha)
        said.append(texts("back_off.unbounded", heads=heads, count=rule.groups, risk=risk))
    return said


def shown(name: str) -> str:
    """The name of a class or head as people read it."""
    return name.replace("_", " ")


def _ordinal_lines(texts: Texts, head: HeadReport) -> Iterator[str]:
    """What an ordinal answer, the median, stands on; see `reading`."""
    sure, names = head.sureness, head.classes
    if not sure or not isinstance(head.decided, str):
        return
    k, last = names.index(head.decided), len(names) - 1
    said = []
    if 0 < k < last:
        probability = texts.share(sure["or_better"])
        said.append(texts("ordinal.or_better", answer=shown(head.decided), probability=probability))
    best, worst = max(0, k - 1), min(last, k + 1)
    if (best, worst) != (0, last):
        said.append(
            texts(
                "ordinal.within_one",
                best=shown(names[best]),
                worst=shown(names[worst]),
                probability=texts.share(sure["within_one"]),
            )
        )
    yield " ".join(said)


def _alternatives(texts: Texts, head: HeadReport) -> str | None:
    said = [
        f"{shown(name)} {texts.share(probability)}"
        for name, probability in head.alternatives
        if probability >= _LEAST_SHOWN
    ]
    return texts("alternatives", classes=", ".join(said)) if said else None


def _attribute_lines(texts: Texts, head: HeadReport) -> Iterator[str]:
    for state in _STATES:
        these = [one for one in head.attributes if one.state == state]
        if these:
            yield texts(f"attributes.{state}", attributes=_listed(texts, these))
        elif state == "present":
            yield texts("attributes.present", attributes=texts("answer.none"))


def _listed(texts: Texts, attributes: list[AttributeReport]) -> str:
    """With how sure the state is; where that is unsure, how likely the attribute is there."""
    how_sure = [
        (one.probability if one.state == "unsure" else one.confidence, one) for one in attributes
    ]
    ordered = sorted(how_sure, key=lambda pair: -pair[0])
    return ", ".join(f"{shown(one.name)} {texts.share(p, down=True)}" for p, one in ordered)


def _attribute_recommendation(report: Report, head: HeadReport) -> str | None:
    texts = texts_in(report.language)
    if not head.is_calibrated:
        return None
    if any(one.level == "unknown" for one in head.attributes):
        return texts("recommendation.unknown")
    level = texts.share(report.settings.likely)
    doubtful = [one for one in head.attributes if one.level in _DOUBTED]
    if not doubtful:
        return texts("attributes.reliable", level=level)
    listed = ", ".join(shown(one.name) for one in doubtful)
    return texts("attributes.doubtful", count=len(doubtful), level=level, attributes=listed)
