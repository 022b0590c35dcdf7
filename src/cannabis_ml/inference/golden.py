"""Photos with the answers that every client must reproduce.

A client on a phone or in a browser tests itself in two steps: does it turn `photos` into the same
`inputs` (to within one grey level), and does the model give the same answers for these?
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import BundleError
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import relative_difference
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize

FOLDER = "golden"
ANSWERS = f"{FOLDER}/answers.json"

ABOUT = (
    "photos: upright RGB. inputs: the largest centred square of each photo (a spare pixel is cut at"
    " the bottom or the right), averaged over areas to the size of the model (OpenCV's INTER_AREA;"
    " INTER_CUBIC where it enlarges). outputs: for every photo in order, what the model gives for"
    " its input alone. A client agrees when each value differs by at most tolerance, times the"
    " largest value of the output where that is above 1."
)

EXACT, ROUNDED = 1e-3, 2e-2
_FLOAT_QUANTIZATIONS = ("float", "weight_only_int8", "mixed", "float16")
"""These compute in float32: on every processor to within rounding. Others round in between, each
kernel in its own way."""


Values = list[float] | list[list[float]] | list[list[list[float]]]
"""One entry per photo: a number, (K,), or (P, K)."""


class ExpectedAnswers(BaseModel):
    """What a model file answers."""

    model_config = ConfigDict(extra="forbid")

    file: str
    image_size: int
    tolerance: float = Field(gt=0)
    outputs: dict[str, Values] = Field(description="By output, one entry per photo")


class GoldenAnswers(BaseModel):
    """`golden/answers.json`."""

    model_config = ConfigDict(extra="forbid")

    about: str = ABOUT
    photos: list[str] = Field(description="Files, in the order of the answers")
    inputs: dict[str, list[str]] = Field(description="By image size, what the models see")
    tiers: dict[str, dict[str, ExpectedAnswers]] = Field(description="By tier and kind of file")


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
    same_answer: dict[str, float] = Field(
        description="Per head, the share of photos with the same class, or of attributes that are"
        " said alike"
    )
    passed: bool


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
    predictor: Predictor, photos: Sequence[np.ndarray], file: str, quantization: str
) -> ExpectedAnswers:
    """Ask a model for the answers that clients must reproduce.

    Args:
        predictor: The opened model file.
        photos: Each uint8 RGB (height, width, 3).
        file: Where the model lies in the bundle.
        quantization: Decides the tolerance.

    Raises:
        BundleError: If an answer is no number.
    """
    outputs = predictor.outputs(photos, batch_size=1)
    unsound = [f"'{name}'" for name, values in outputs.items() if not np.isfinite(values).all()]
    if unsound:
        raise BundleError(f"{file} answers what is no number for {', '.join(unsound)}.")
    return ExpectedAnswers(
        file=file,
        image_size=predictor.image_size,
        tolerance=EXACT if quantization in _FLOAT_QUANTIZATIONS else ROUNDED,
        outputs={name: _shortest(values) for name, values in outputs.items()},
    )


def compare(
    expected: ExpectedAnswers,
    answers: Mapping[str, np.ndarray],
    decision: Decision,
    runtime: str = "",
) -> FileReport:
    """Hold answers against what they must be.

    Args:
        expected: The answers of the bundle.
        answers: Those of the client, by output, (N, …).
        decision: What is said of the answers, such as `Predictor.decision`.
        runtime: What gave the answers.
    """
    differences = {
        name: relative_difference(np.asarray(values, np.float32), answers.get(name))
        for name, values in expected.outputs.items()
    }
    heads = [head.name for head in decision.taxonomy.heads]
    decision = decision.of([n for n in heads if np.isfinite(differences.get(n, np.inf))])
    usable = {name for name, apart in differences.items() if np.isfinite(apart)}
    theirs = {n: np.asarray(v, np.float32) for n, v in expected.outputs.items() if n in usable}
    ours = {name: np.asarray(answers[name]) for name in usable}
    decided = decision.decide(theirs), decision.decide(ours)
    same = {name: float((decided[0][name] == decided[1][name]).mean()) for name in decided[0]}
    return FileReport(
        file=expected.file,
        runtime=runtime,
        tolerance=expected.tolerance,
        largest_difference=differences,
        same_answer=same,
        # Written so that NaN fails.
        passed=bool(differences) and all(d <= expected.tolerance for d in differences.values()),
    )


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


def grey_levels_apart(photo: bytes, seen: bytes, size: int) -> int:
    """How far this machine's input of a photo is from the bundle's, at most, in grey levels."""
    ours, theirs = center_crop_resize(decode(photo), size), decode(seen)
    if ours.shape != theirs.shape:
        return 255
    return int(np.abs(ours.astype(np.int16) - theirs).max())


def as_json(answers: GoldenAnswers) -> bytes:
    """The text of `answers.json`."""
    return json.dumps(answers.model_dump(), ensure_ascii=False, allow_nan=False).encode()


def _shortest(values: np.ndarray) -> list[Any]:
    """As lists of the shortest decimals that are the same float32."""
    shortest = [float(str(value)) for value in values.astype(np.float32).ravel()]
    return list(np.asarray(shortest).reshape(values.shape).tolist())
