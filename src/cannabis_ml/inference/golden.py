"""Photos with the answers that every client must reproduce.

A client on a phone or in a browser tests itself in three steps: does it turn `photos` into the same
`inputs` (to within one grey level), does the model give the same `outputs` for these, and does it
draw the same conclusions from outputs: calibrated probabilities, answers, prediction sets, back-off
and unknown scores?
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import BundleError
from cannabis_ml.inference import prediction_sets
from cannabis_ml.inference.backoff import UNSURE
from cannabis_ml.inference.decision import NamedAnswer
from cannabis_ml.inference.model_file import FileKind
from cannabis_ml.inference.outputs import EMBEDDING, relative_difference
from cannabis_ml.inference.prediction_sets import NamedSet
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.inference.reliability import Findings, TierRules
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize

FOLDER = "golden"
ANSWERS = f"{FOLDER}/answers.json"

ABOUT = (
    "photos: upright RGB. inputs: the largest centred square of each photo (a spare pixel is cut at"
    " the bottom or the right), averaged over areas to the size of the model (OpenCV's INTER_AREA;"
    " INTER_CUBIC where it enlarges). outputs: for every photo in order, what the model gives for"
    " its input alone. A client agrees when each value differs by at most tolerance, times the"
    " largest value of the output where that is above 1. calibrated, answers, sets, back_off and"
    " unknown follow from outputs by the decision of the tier and its files in reliability/ and"
    " unknown/: from these very outputs a client draws the same, and from its own what differs by"
    " at most tolerance."
)

EXACT, ROUNDED = 1e-3, 2e-2
_ARITHMETIC = 1e-6
"""Conclusions from the very same outputs differ by no more, relative to values above 1."""

_FLOAT_QUANTIZATIONS = ("float", "weight_only_int8", "mixed", "float16")
"""These compute in float32: on every processor to within rounding. Others round in between, each
kernel in its own way."""


Values = list[float] | list[list[float]] | list[list[list[float]]]
"""One entry per photo: a number, (K,), or (P, K)."""


class Conclusions(BaseModel):
    """What follows from the outputs of a model file; one entry per photo each."""

    model_config = ConfigDict(extra="forbid")

    calibrated: dict[str, list[list[float]]] = Field(description="By head, probabilities")
    answers: dict[str, list[NamedAnswer]] = Field(description="By head")
    sets: dict[str, list[NamedSet]] = Field(description="By head that has prediction sets")
    back_off: dict[str, list[str | None]] = Field(
        description="By the deepest head of each chain, the head that answers"
    )
    unknown: list[float] | None = Field(description="Unknown scores; null where there are none")


class ExpectedAnswers(BaseModel):
    """What a model file answers."""

    model_config = ConfigDict(extra="forbid")

    file: str
    image_size: int
    tolerance: float = Field(gt=0)
    outputs: dict[str, Values] = Field(description="By output, one entry per photo")
    conclusions: Conclusions


class GoldenAnswers(BaseModel):
    """`golden/answers.json`."""

    model_config = ConfigDict(extra="forbid")

    about: str = ABOUT
    photos: list[str] = Field(description="Files, in the order of the answers")
    inputs: dict[str, list[str]] = Field(description="By image size, what the models see")
    tiers: dict[str, dict[FileKind, ExpectedAnswers]] = Field(
        description="By tier and kind of file"
    )
    labels: dict[str, list[NamedAnswer]] = Field(
        default_factory=dict,
        description="By head, what people labelled each photo as, null where nobody did; a head"
        " without labels is left out",
    )


class FileReport(BaseModel):
    """How the answers of one model file compare with the golden ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    runtime: str
    tolerance: float
    largest_difference: dict[str, float] = Field(
        description="Per output, relative to its largest value where that is above 1; infinite"
        " where it is missing or has another shape"
    )
    same_decision: dict[str, float] = Field(
        description="Per head, the share of photos with the same class, or of attributes that are"
        " decided alike"
    )
    calibrated_difference: dict[str, float] = Field(
        description="Per head, of calibrated probabilities; infinite where an output is missing"
    )
    unknown_difference: float | None = Field(
        description="Of unknown scores, as `largest_difference`; null where there are none"
    )
    same_set: dict[str, float] = Field(
        description="Per head, the share of photos with the same prediction set; of attributes, of"
        " those with the same states"
    )
    same_back_off: dict[str, float] = Field(description="Per chain, the share of photos")
    same_unknown: float | None = Field(
        description="Share of photos on the same side of the unknown score's threshold"
    )
    same_rules: bool = Field(
        description="Whether the golden outputs themselves lead to the golden conclusions here"
    )
    passed: bool = Field(description="All differences within tolerance, and the same rules")

    def in_words(self) -> str:
        """As "agrees: outputs within 1e-07, calibrated 2e-07, unknown 0e+00, of 1e-03 allowed"."""
        parts = [f"outputs within {max(self.largest_difference.values(), default=0.0):.0e}"]
        parts.append(f"calibrated {max(self.calibrated_difference.values(), default=0.0):.0e}")
        if self.unknown_difference is not None:
            parts.append(f"unknown {self.unknown_difference:.0e}")
        summary = f"{', '.join(parts)}, of {self.tolerance:.0e} allowed"
        shares = [*self.same_decision.values(), *self.same_set.values()]
        if min(shares, default=1.0) < 1:
            summary += f"; answers and sets the same on {min(shares):.1%} of photos or more"
        if not self.same_rules:
            summary += "; other answers follow from the same outputs here"
        return f"{'agrees' if self.passed else 'DIFFERS'}: {summary}"


class GoldenReport(BaseModel):
    """Whether this machine gives the golden answers of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    photos: int = Field(description="How many")
    inputs: dict[str, int] = Field(
        description="By image size, the largest difference to the inputs of the bundle in grey"
        " levels, of which 1 is allowed"
    )
    tiers: dict[str, dict[str, FileReport]] = Field(description="By tier and kind of file")
    not_checked: list[str] = Field(description="Files that the runtime does not run")


def expected_answers(
    predictor: Predictor,
    photos: Sequence[np.ndarray],
    file: str,
    quantization: str,
    rules: TierRules | None = None,
) -> ExpectedAnswers:
    """Ask a model for the answers that clients must reproduce.

    Args:
        predictor: The opened model file.
        photos: Each uint8 RGB (height, width, 3).
        file: Where the model lies in the bundle.
        quantization: Decides the tolerance.
        rules: Of the tier; None decides as the file's card does, without sets and unknown scores.

    Raises:
        BundleError: If an output is not finite, or the unknown score is of another file.
    """
    outputs = predictor.outputs(photos, batch_size=1)
    unsound = [f"'{name}'" for name, values in outputs.items() if not np.isfinite(values).all()]
    if unsound:
        raise BundleError(f"{file} gives values that are not finite for {', '.join(unsound)}.")
    rules = rules or TierRules(predictor.decision)
    width = None if rules.unknown is None else rules.unknown.features
    gives = outputs[EMBEDDING].shape[1] if EMBEDDING in outputs else 0
    if width not in (None, gives):
        raise BundleError(
            f"The unknown score reads {width} features of {file}, which gives {gives}: it was"
            " fitted to another file."
        )
    findings = rules.apply(outputs)
    return ExpectedAnswers(
        file=file,
        image_size=predictor.image_size,
        tolerance=EXACT if quantization in _FLOAT_QUANTIZATIONS else ROUNDED,
        outputs={name: _shortest(values) for name, values in outputs.items()},
        conclusions=conclusions(rules, findings),
    )


def conclusions(rules: TierRules, findings: Findings) -> Conclusions:
    """Findings in class names and plain numbers."""
    taxonomy, photos = rules.decision.taxonomy, len(next(iter(findings.decided.values())))
    sets = [prediction_sets.named(findings.sets, taxonomy, row) for row in range(photos)]
    chains = {rule.heads[-1]: rule.heads for rule in rules.reliability.back_off}
    return Conclusions(
        calibrated={name: _shortest(values) for name, values in findings.probs.items()},
        answers=rules.decision.names_of(findings.decided),
        sets={name: [one[name] for one in sets] for name in findings.sets},
        back_off={
            name: [None if d == UNSURE else chains[name][d] for d in depth]
            for name, depth in findings.back_off.items()
        },
        unknown=None if findings.unknown is None else findings.unknown.tolist(),
    )


def compare(
    expected: ExpectedAnswers,
    outputs: Mapping[str, np.ndarray],
    rules: TierRules,
    runtime: str = "",
) -> FileReport:
    """Compare the outputs of a client, and what follows from them, with the golden ones.

    Args:
        expected: The answers of the bundle.
        outputs: Those of the client, by name, (N, …).
        rules: Of the tier, such as `Bundle.rules` gives them.
        runtime: What gave the outputs.
    """
    differences = {
        name: relative_difference(np.asarray(values, np.float32), outputs.get(name))
        for name, values in expected.outputs.items()
    }
    theirs = {
        name: np.asarray(values, np.float32)
        for name, values in expected.outputs.items()
        if np.isfinite(differences[name])
    }
    ours = {name: np.asarray(outputs[name]) for name in theirs}
    report = FileReport(
        file=expected.file,
        runtime=runtime,
        tolerance=expected.tolerance,
        largest_difference=differences,
        same_decision=_same_decision(theirs, ours, rules),
        calibrated_difference=dict.fromkeys(expected.conclusions.calibrated, np.inf),
        unknown_difference=None if expected.conclusions.unknown is None else np.inf,
        same_set={},
        same_back_off={},
        same_unknown=None,
        same_rules=False,
        passed=False,
    )
    if not theirs or len(theirs) < len(differences):
        return report
    written, own = rules.apply(theirs), rules.apply(ours)
    report = report.model_copy(
        update={
            "calibrated_difference": {
                name: relative_difference(values, own.probs[name])
                for name, values in written.probs.items()
            },
            "same_set": {n: _alike(values, own.sets[n]) for n, values in written.sets.items()},
            "same_back_off": {
                name: _alike(depth, own.back_off[name]) for name, depth in written.back_off.items()
            },
            "same_rules": _are_written(conclusions(rules, written), expected.conclusions),
        }
    )
    if rules.unknown is not None and written.unknown is not None and own.unknown is not None:
        limit = rules.unknown.threshold
        report = report.model_copy(
            update={
                "unknown_difference": relative_difference(written.unknown, own.unknown),
                "same_unknown": _alike(written.unknown > limit, own.unknown > limit),
            }
        )
    limited = [*differences.values(), *report.calibrated_difference.values()]
    if report.unknown_difference is not None:
        limited.append(report.unknown_difference)
    # Written so that NaN fails.
    within = all(apart <= expected.tolerance for apart in limited)
    return report.model_copy(update={"passed": within and report.same_rules})


def _same_decision(
    theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray], rules: TierRules
) -> dict[str, float]:
    """Per head whose outputs can be compared."""
    heads = [head.name for head in rules.decision.taxonomy.heads if head.name in theirs]
    decision = rules.decision.of(heads)
    decided = decision.decide(theirs), decision.decide(ours)
    return {name: float((decided[0][name] == decided[1][name]).mean()) for name in decided[0]}


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Share of photos, or of a photo's attributes, that are the same; classes lie along axis 1."""
    same = one == other
    return float((same if same.ndim == 1 else same.all(axis=-1)).mean())


def _are_written(own: Conclusions, written: Conclusions) -> bool:
    """Whether conclusions are those of the bundle, numbers to within arithmetic."""
    names = {"answers", "sets", "back_off"}
    if own.model_dump(include=names) != written.model_dump(include=names):
        return False
    if own.calibrated.keys() != written.calibrated.keys():
        return False
    pairs = [
        (np.asarray(written.calibrated[name]), np.asarray(values))
        for name, values in own.calibrated.items()
    ]
    if own.unknown is not None and written.unknown is not None:
        pairs.append((np.asarray(written.unknown), np.asarray(own.unknown)))
    elif own.unknown is not None or written.unknown is not None:
        return False
    return all(relative_difference(*pair) <= _ARITHMETIC for pair in pairs)


def golden_files(
    photos: Sequence[np.ndarray], sizes: Sequence[int]
) -> tuple[dict[str, bytes], list[str], dict[str, list[str]]]:
    """The photos as PNG, and what models of each size see of them.

    Returns:
        The files by name, the names of the photos, and those of the inputs by size.
    """
    files = {f"{FOLDER}/photos/{i:02}.png": as_png(photo) for i, photo in enumerate(photos)}
    names, inputs = list(files), {}
    for size in sorted(set(sizes)):
        seen = {
            f"{FOLDER}/inputs/{size}/{i:02}.png": as_png(center_crop_resize(photo, size))
            for i, photo in enumerate(photos)
        }
        files |= seen
        inputs[str(size)] = list(seen)
    return files, names, inputs


def as_png(pixels: np.ndarray) -> bytes:
    """uint8 RGB (height, width, 3) as a PNG."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def gray_levels_apart(photo: bytes, seen: bytes, size: int) -> int:
    """How far this machine's input of a photo is from the bundle's, at most, in grey levels."""
    ours, theirs = center_crop_resize(decode(photo), size), decode(seen)
    if ours.shape != theirs.shape:
        return 255
    return int(np.abs(ours.astype(np.int16) - theirs).max())


def as_json(answers: GoldenAnswers) -> bytes:
    """The text of `answers.json`."""
    written = answers.model_dump(exclude=None if answers.labels else {"labels"})
    return json.dumps(written, ensure_ascii=False, allow_nan=False).encode()


def _shortest(values: np.ndarray) -> list[object]:
    """As lists of the shortest decimals that are the same float32."""
    shortest = [float(str(value)) for value in values.astype(np.float32).ravel()]
    return list(np.asarray(shortest).reshape(values.shape).tolist())
