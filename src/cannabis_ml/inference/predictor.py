"""One opened model file, whatever runtime runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cannabis_ml.errors import ExportError, PhotoError
from cannabis_ml.inference.answer import Answer, HeadAnswer
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.decision import Decision, NamedAnswer
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.outputs import (
    ALEATORIC,
    ATTENTION,
    EMBEDDING,
    EPISTEMIC,
    output_faults,
)
from cannabis_ml.inference.runtimes import runtime_for
from cannabis_ml.photos.decode import MAX_PIXELS, decode, decode_image
from cannabis_ml.photos.resize import center_crop_resize

PhotoLike = Path | str | bytes | np.ndarray | Image.Image
"""A photo: where its file is, the file's bytes, uint8 RGB (height, width, 3), or a Pillow image."""

FINER = 8
"""A JPEG is decoded at 1/2, 1/4 or 1/8 where this many times the model's side remains: photos of 12
megapixels three times faster, and within one grey level of decoding them whole, single pixels of
tier 3 within two. Half as many would be a quarter faster and three levels off, which changed four
times as many answers (tests/benchmarks/bench_reduced_decode.py)."""


class Predictor(ABC):
    """One opened model file.

    Attributes:
        taxonomy: Heads and their classes.
        image_size: Side S of the square that the model sees, in pixels.
        card: The file's metadata.
        decision: Decides on classes; its rule stands in the card. Without one, attributes are
            there from 0.5 on.
        tier: Name of the tier that the file belongs to, where that is known.
        format: `onnx` or `tflite`.
        runtime: What runs it, one of `runtimes.RUNTIMES`.
        largest_batch: Photos the model is given at once, at most.
    """

    format: str
    runtime: str
    largest_batch: int

    def __init__(self, card: FileCard, tier: str | None = None) -> None:
        self.card = card
        self.tier = tier or card.tier
        self.taxonomy = card.taxonomy
        self.image_size = card.image_size
        self.decision = Decision(card.taxonomy, card.decision)

    @property
    @abstractmethod
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output without the first dimension, N; 0 where it is not fixed."""

    @abstractmethod
    def invoke(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Ask the model.

        Args:
            pixels: uint8 RGB (N, S, S, 3) with any N from 1.

        Returns:
            Every output by name, float32 (N, …), see `inference.outputs`.

        Raises:
            ExportError: If the runtime fails.
        """

    def predict(self, photo: PhotoLike) -> Answer:
        """Answer for one photo.

        Args:
            photo: A path, the bytes of a file, a Pillow image, or an array, uint8 RGB
                (height, width, 3), upright. Files and Pillow images are brought upright by their
                EXIF orientation.

        Returns:
            Per head the probabilities, the decision and the uncertainty; the embedding and the
            attention map.

        Raises:
            PhotoError: If something else is given.
            UnreadableError: If the file or the image gives no photo.
            OSError: If the file cannot be read.
        """
        return self.answer(self.outputs([as_pixels(photo, self.image_size)]))

    def answer(self, outputs: Mapping[str, np.ndarray], row: int = 0) -> Answer:
        """The answer for one row of `outputs`.

        Args:
            outputs: As from `outputs`.
            row: Which photo.
        """
        one = {name: values[row : row + 1] for name, values in outputs.items()}
        decided = {name: names[0] for name, names in self.decision.named(one).items()}
        probs = self.decision.calibrated(one)
        heads = {
            head.name: HeadAnswer(
                head=head,
                probs=probs[head.name][0].astype(np.float32),
                raw=one[head.name][0],
                decided=decided[head.name],
                parent_decided=decided.get(head.parent or ""),
                aleatoric=_number(one, head.name + ALEATORIC),
                epistemic=_number(one, head.name + EPISTEMIC),
            )
            for head in self.taxonomy.heads
        }
        return Answer(
            heads,
            tier=self.tier,
            runtime=self.runtime,
            embedding=one[EMBEDDING][0] if EMBEDDING in one else None,
            attention=one[ATTENTION][0] if ATTENTION in one else None,
        )

    def outputs(self, photos: Sequence[np.ndarray], batch_size: int = 32) -> dict[str, np.ndarray]:
        """All outputs for photos of any size, as `probs`."""
        _check_photos(photos)
        step = max(1, min(batch_size, self.largest_batch))
        parts = [
            self.invoke(
                np.stack(
                    [center_crop_resize(p, self.image_size) for p in photos[start : start + step]]
                )
            )
            for start in range(0, len(photos), step)
        ]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return {name: np.empty((0, *s), np.float32) for name, s in self.output_shapes.items()}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def probs(self, photos: Sequence[np.ndarray], batch_size: int = 32) -> dict[str, np.ndarray]:
        """Probabilities for photos of any size.

        A photo is cut to its centre square and resized by `photos.resize.center_crop_resize`, as in
        training's evaluation: the model sees the very pixels that it was judged on.

        Args:
            photos: Each uint8 RGB (height, width, 3), upright.
            batch_size: How many photos the model sees at once; `largest_batch` limits it.

        Returns:
            Per head, float32 (N, K) probabilities in class order, as the model gives them: not
            calibrated.

        Raises:
            PhotoError: If something else than a list of such photos is given.
        """
        outputs = self.outputs(photos, batch_size)
        return {head.name: outputs[head.name] for head in self.taxonomy.heads}

    def decide(self, outputs: Mapping[str, np.ndarray]) -> dict[str, list[NamedAnswer]]:
        """Decide on every head, by the decision that the model was scored with.

        Args:
            outputs: As from `outputs`.

        Returns:
            Per head one entry per photo: the class, or None where the answer of its parent
            allows none; of a multilabel head the list of classes that are there.
        """
        return self.decision.named(outputs)

    def _check_input(self, inputs: int, shape: Sequence[Any], is_uint8: bool) -> None:
        """Compare the input of the graph with the card.

        Args:
            inputs: How many it has.
            shape: Of the first.
            is_uint8: Whether that takes bytes.
        """
        size = self.image_size
        if inputs != 1 or not is_uint8 or list(shape[1:]) != [size, size, 3]:
            raise ExportError(
                f"The {self.format} model takes {list(shape)} as the first of {inputs}, where its"
                f" card has uint8 (N, {size}, {size}, 3). Export it again."
            )

    def _check_outputs(self) -> None:
        """Compare the outputs of the graph with the card."""
        outputs = self.output_shapes
        wrong = [
            f"'{head.name}'"
            for head in self.taxonomy.heads
            if outputs.get(head.name) not in ((len(head.classes),), (0,))
        ]
        if wrong:
            raise ExportError(
                f"The {self.format} model gives no probabilities of the right shape for"
                f" {', '.join(wrong)}; it has {', '.join(map(repr, outputs))}. Export it again."
            )
        faults = list(output_faults(self.card.outputs, outputs))
        if faults:
            raise ExportError(
                f"The {self.format} model has other outputs than its card: {'; '.join(faults)}."
                " Export it again."
            )


def _number(one: Mapping[str, np.ndarray], name: str) -> float | None:
    return float(one[name][0]) if name in one else None


def as_pixels(photo: PhotoLike, image_size: int, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A photo as what `Predictor.probs` takes.

    Args:
        photo: As for `Predictor.predict`.
        image_size: Side of the square that the model sees; large JPEGs are decoded smaller, as far
            as that needs no more.
        max_pixels: A file or image with more is refused before it is decoded.

    Returns:
        uint8 RGB (height, width, 3), upright.

    Raises:
        PhotoError: If it is nothing that `Predictor.predict` takes.
        UnreadableError: If the file or the image gives no photo.
        OSError: If the file cannot be read.
    """
    if isinstance(photo, str | Path):
        photo = Path(photo).read_bytes()
    if isinstance(photo, bytes):
        return decode(photo, max_pixels=max_pixels, reduce_to=FINER * image_size)
    if isinstance(photo, Image.Image):
        return decode_image(photo, max_pixels=max_pixels)
    if not _is_photo(photo):
        raise PhotoError(
            f"A photo is a path, the bytes of a file, a Pillow image or a NumPy array of uint8"
            f" (height, width, 3) in RGB, not {_kind(photo)}."
        )
    return photo


def _check_photos(photos: Sequence[np.ndarray]) -> None:
    """See that they are what `probs` takes, before any of them is worked on."""
    if isinstance(photos, np.ndarray) and photos.ndim == 3:
        raise PhotoError(f"This is one photo, {photos.shape}: put it in a list, [photo].")
    if isinstance(photos, np.ndarray):
        photos = list(photos) if photos.ndim else [photos]
    if not isinstance(photos, Sequence) or isinstance(photos, str | bytes | bytearray):
        raise PhotoError(f"Photos come as a list of arrays, not {_kind(photos)}.{_READ_FIRST}")
    wrong = [(i, photo) for i, photo in enumerate(photos) if not _is_photo(photo)]
    if wrong:
        number, photo = wrong[0]
        raise PhotoError(
            f"{len(wrong):,} of {len(photos):,} are not photos: number {number} is {_kind(photo)},"
            f" not a NumPy array of uint8 (height, width, 3) in RGB."
            f"{'' if isinstance(photo, np.ndarray) else _READ_FIRST}"
        )


def _is_photo(photo: object) -> bool:
    return (
        isinstance(photo, np.ndarray)
        and photo.dtype == np.uint8
        and photo.ndim == 3
        and photo.shape[2] == 3
        and photo.size > 0
    )


def _kind(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype} {given.shape}"
    return f"of type {type(given).__name__}"


_READ_FIRST = (
    "\nRead files with cannabis_ml.photos.decode.decode(path.read_bytes()); of a Pillow image take"
    " np.asarray(image.convert('RGB'))."
)


def open_model(
    model: ModelFile | Path | str | bytes, threads: int = 0, runtime: str | None = None
) -> Predictor:
    """Open a model file.

    The file is checked before an interpreter sees it: it ends with the SHA-256 of the rest, which
    shows any damage. It does not show who wrote a file: take models only from where you would take
    programs.

    Args:
        model: The file, where it is, or its bytes.
        threads: CPU threads of one answer; 0 takes what the machine offers.
        runtime: `litert`, `tensorflow` or `onnxruntime`; None takes the first that runs the
            file's format and is installed.

    Raises:
        ExportError: If the file is damaged, is not a model of this project, or the runtime does
            not run its format or is not installed.
    """
    if isinstance(model, str | Path):
        model = ModelFile.read(Path(model))
    elif isinstance(model, bytes):
        model = ModelFile.from_bytes(model)
    model.check()
    return open_verified(model, threads, runtime)


def open_verified(
    file: ModelFile, threads: int = 0, runtime: str | None = None, tier: str | None = None
) -> Predictor:
    """As `open_model`, for a file that is known to be whole.

    Args:
        file: The file.
        threads: As for `open_model`.
        runtime: As for `open_model`.
        tier: Name of the tier; None takes the card's.
    """
    runs = runtime_for(file.format, runtime)
    if file.format == "tflite":
        from cannabis_ml.inference.tflite_predictor import TFLitePredictor

        return TFLitePredictor(file, threads, runs, tier)
    from cannabis_ml.inference.onnx_predictor import ONNXPredictor

    return ONNXPredictor(file, threads, tier)
