"""Reports on photos, made with one opened model file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from cannabis_ml.inference.answer import Answer, HeadAnswer
from cannabis_ml.inference.backoff import BackOff
from cannabis_ml.inference.bands import ConfidenceBand
from cannabis_ml.inference.heat_map import (
    HeatMap,
    HeatMapKind,
    attention_heat_map,
    occlusion_heat_map,
)
from cannabis_ml.inference.language import DEFAULT_LANGUAGE, tag_of, texts_in
from cannabis_ml.inference.outputs import ATTENTION
from cannabis_ml.inference.photo_faults import photo_faults
from cannabis_ml.inference.prediction_sets import ABSENT, PRESENT
from cannabis_ml.inference.predictor import FINER, PhotoLike, Predictor, as_pixels
from cannabis_ml.inference.reliability import Findings, TierRules
from cannabis_ml.inference.report import (
    AttributeReport,
    Band,
    Gaps,
    HeadReport,
    Level,
    Part,
    PhotoChecks,
    Report,
    ReportSettings,
    State,
    UnknownReport,
    Wording,
)
from cannabis_ml.photos.checks.examined_file import WORKING_SIDE
from cannabis_ml.photos.decode import MAX_PIXELS
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

EVEN_ODDS = 0.5


class Reporter:
    """Reports on photos.

    Args:
        predictor: The opened model file.
        rules: Of its tier; None where nothing but the file itself is known.
        settings: Levels and thresholds; None takes the defaults.
    """

    def __init__(
        self,
        predictor: Predictor,
        rules: TierRules | None = None,
        settings: ReportSettings | None = None,
    ) -> None:
        self.predictor = predictor
        self.rules = rules or TierRules(predictor.decision)
        self.settings = settings or ReportSettings()

    def report(
        self,
        photo: PhotoLike,
        *,
        language: str = DEFAULT_LANGUAGE,
        heat_map: HeatMapKind | None = None,
    ) -> Report:
        """Report on one photo.

        Args:
            photo: As for `Predictor.predict`.
            language: Of the texts, `en` or `es`, see `language.texts_in`.
            heat_map: Which to draw, see `inference.heat_map`; None for none.

        Raises:
            ConfigError: If reports have no texts in the language.
            PhotoError: If something else than a photo is given.
            UnreadableError: If the file or the image gives no photo.
            OSError: If the file cannot be read.
        """
        texts_in(language)
        pixels = self.pixels(photo)
        outputs = self.predictor.outputs([pixels])
        return self.report_on(pixels, outputs, language=language, heat_map=heat_map)

    def pixels(self, photo: PhotoLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """A photo as the model and the checks of photos need it.

        Args:
            photo: As for `report`.
            max_pixels: A file or image with more is refused before it is decoded.

        Returns:
            uint8 RGB (height, width, 3), upright.
        """
        # Photos are checked at a size of their own, which a model of fewer pixels would not need.
        side = max(self.predictor.image_size, WORKING_SIDE // FINER)
        return as_pixels(photo, side, max_pixels=max_pixels)

    def report_on(
        self,
        pixels: np.ndarray,
        outputs: Mapping[str, np.ndarray],
        *,
        language: str = DEFAULT_LANGUAGE,
        heat_map: HeatMapKind | None = None,
    ) -> Report:
        """As `report`, where the model has answered already.

        Args:
            pixels: As from `pixels`.
            outputs: Of the model file for this one photo, as it gives them, (1, …).
            language: As for `report`.
            heat_map: As for `report`.
        """
        drawn = None if heat_map is None else self.heat_map(pixels, outputs, heat_map)
        faults = photo_faults(pixels, self.predictor.image_size, self.settings.defects)
        findings, answer = self.rules.apply(outputs), self.predictor.answer(outputs)
        unknown = _unknown(self.rules, findings)
        maker = _HeadMaker(
            self.rules, findings, self.settings, bool(unknown and unknown.is_unknown)
        )
        withheld = _withheld_heads(answer, self.rules.reliability.back_off, findings)
        heads = {name: maker.report(given, withheld[name]) for name, given in answer.items()}
        return Report(
            answer,
            heads,
            PhotoChecks(faults, unknown, drawn),
            _gaps(self.rules, unknown),
            self._wording(language),
        )

    def _wording(self, language: str) -> Wording:
        tag = tag_of(language)
        names = self.rules.decision.taxonomy.names.get(tag, {})
        return Wording(tag, names, self.settings)

    def heat_map(
        self,
        photo: np.ndarray,
        outputs: Mapping[str, np.ndarray],
        kind: HeatMapKind = "occlusion",
    ) -> HeatMap | None:
        """Draw what the answers for one photo rest on.

        Args:
            photo: As from `pixels`.
            outputs: As for `report_on`.
            kind: Which to draw, see `inference.heat_map`.

        Returns:
            None where the model file gives no attention, or answers no class.
        """
        if kind == "attention":
            attention = outputs.get(ATTENTION)
            return None if attention is None else attention_heat_map(photo, attention[0])
        decided = {name: k[0] for name, k in self.predictor.decision.decide(outputs).items()}
        answers = {name: int(k) for name, k in decided.items() if k.ndim == 0 and k != MISSING}

        def ask(squares: Sequence[np.ndarray]) -> np.ndarray:
            probs = self.predictor.probs(squares)
            return np.mean([probs[name][:, k] for name, k in answers.items()], axis=0)

        if not answers:
            return None
        return occlusion_heat_map(photo, center_crop_resize(photo, self.predictor.image_size), ask)


@dataclass(frozen=True)
class _HeadMaker:
    rules: TierRules
    findings: Findings
    settings: ReportSettings
    is_unknown: bool

    def report(self, given: HeadAnswer, backed_off: bool | None) -> HeadReport:
        head = given.head
        sets, coverage, unlimited = self._sets(head)
        report = HeadReport(
            **{one.name: getattr(given, one.name) for one in fields(HeadAnswer)},
            is_calibrated=self._is_calibrated(head),
            coverage=coverage,
            unlimited=unlimited,
            backed_off=backed_off,
        )
        if head.kind == "multilabel":
            return replace(report, attributes=self._attributes(given, sets))
        if not isinstance(given.decided, str):
            return replace(report, alternatives=self._others(given))
        confidence = float(self.findings.confidence[head.name][0])
        return replace(
            report,
            confidence=confidence,
            band=self._band(head, confidence),
            alternatives=self._others(given),
            possible=None if sets is None else _named(head, sets),
            level="unsure" if backed_off and not self.is_unknown else self._level(head, confidence),
        )

    def _is_calibrated(self, head: Head) -> bool:
        return head.name in self.rules.decision.rule.calibrators

    def _level(self, head: Head, confidence: float) -> Level | None:
        if self.is_unknown:
            return "unknown"
        return self.settings.level(confidence) if self._is_calibrated(head) else None

    def _sets(self, head: Head) -> tuple[np.ndarray | None, float | None, list[str]]:
        """The set, (K,) or (K, 2); its coverage; and classes that are in every set."""
        sets = self.rules.reliability.sets
        if sets is None or head.name not in sets.heads:
            return None, None, []
        limits = sets.heads[head.name]
        own_sets = self.findings.sets[head.name][0]
        return own_sets, 1 - limits.alpha, limits.infinite(head.class_names)

    def _band(self, head: Head, confidence: float) -> Band | None:
        band = self.rules.reliability.bands.get(head.name)
        return None if band is None else _band_around(band, confidence)

    def _others(self, given: HeadAnswer) -> list[tuple[str, float]]:
        ranked = given.top(len(given.classes))
        others = [(name, prob) for name, prob in ranked if name != given.decided]
        return others[: self.settings.alternatives]

    def _attributes(self, given: HeadAnswer, sets: np.ndarray | None) -> list[AttributeReport]:
        head = given.head
        present = np.asarray(self.findings.probs[head.name], np.float64)[0]
        decided = self.findings.decided[head.name][0]
        attributes = []
        for k, name in enumerate(head.class_names):
            prob, there = float(present[k]), bool(decided[k])
            confidence = prob if there else 1 - prob
            both = sets is not None and sets[k, ABSENT] and sets[k, PRESENT]
            state: State = "present" if there else "absent"
            attributes.append(
                AttributeReport(
                    name,
                    "unsure" if both or (there and prob < EVEN_ODDS) else state,
                    probability=prob,
                    raw_probability=float(given.raw[k]),
                    confidence=confidence,
                    band=self._band(head, prob),
                    level=self._level(head, confidence),
                )
            )
        return attributes


def _named(head: Head, inside: np.ndarray) -> list[str]:
    return [name for name, is_in in zip(head.class_names, inside, strict=True) if is_in]


def _band_around(band: ConfidenceBand, confidence: float) -> Band:
    low, high = band.around(np.array(confidence)).tolist()
    nearest = round(confidence * (len(band.photos) - 1))
    return Band(low, high, band.level, band.photos[nearest])


def _unknown(rules: TierRules, findings: Findings) -> UnknownReport | None:
    score = rules.unknown
    if score is None or findings.unknown is None or not np.isfinite(score.threshold):
        return None
    value = float(findings.unknown[0])
    return UnknownReport(value > score.threshold, value, float(score.threshold), score.kept)


def _withheld(rules: list[BackOff], findings: Findings) -> dict[str, bool]:
    """Of each head in a chain with a threshold, whether every such chain withholds its answer."""
    withheld: dict[str, bool] = {}
    for rule in rules:
        if rule.threshold is None:
            continue
        depth = int(findings.back_off[rule.heads[-1]][0])
        for level, name in enumerate(rule.heads):
            withheld[name] = withheld.get(name, True) and level > depth
    return withheld


def _withheld_heads(
    answer: Answer, rules: list[BackOff], findings: Findings
) -> dict[str, bool | None]:
    """Whether the answer of each head is withheld; None where no rule applies to it."""
    withheld = _withheld(rules, findings)

    def is_withheld(head: Head) -> bool | None:
        if withheld.get(head.name) and answer[head.name].decided is None:
            # Without a class there is nothing to withhold, unless the parent's answer is.
            parent = answer.get(head.parent or "")
            return parent is not None and is_withheld(parent.head)
        return withheld.get(head.name)

    return {name: is_withheld(given.head) for name, given in answer.items()}


def _gaps(rules: TierRules, unknown: UnknownReport | None) -> Gaps:
    unbounded = [rule for rule in rules.reliability.back_off if rule.threshold is None]
    return Gaps(_missing(rules, unknown), unbounded)


def _missing(rules: TierRules, unknown: UnknownReport | None) -> dict[Part, list[str]]:
    taxonomy, reliability = rules.decision.taxonomy, rules.reliability
    names = [head.name for head in taxonomy.heads]
    sets = {} if reliability.sets is None else reliability.sets.heads
    held: list[tuple[Part, Collection[str]]] = [
        ("calibration", rules.decision.rule.calibrators),
        ("bands", reliability.bands),
        ("sets", sets),
    ]
    lacking: dict[Part, list[str]] = {
        part: [name for name in names if name not in known] for part, known in held
    }
    missing = {part: heads for part, heads in lacking.items() if heads}
    if _has_chains(taxonomy) and not reliability.back_off:
        missing["back_off"] = []
    if unknown is None:
        missing["unknown"] = []
    return missing


def _has_chains(taxonomy: Taxonomy) -> bool:
    return any(head.kind != "multilabel" and taxonomy.limits(head) for head in taxonomy.heads)
