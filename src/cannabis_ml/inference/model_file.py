"""A model file in memory, of either format."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import ValidationError

from cannabis_ml.errors import CannabisMLError, ExportError
from cannabis_ml.inference import seal
from cannabis_ml.inference.cards import FileCard, faults_of

Format = Literal["onnx", "tflite"]
FORMATS: tuple[str, ...] = get_args(Format)

INPUT_NAME = "photos"
"""Name of the input of every model file."""

SIGNATURE = "serving_default"
"""Name of the signature of a TFLite file."""

QUANTIZED: Final = "quantized"
"""Kind of the file of a tier that was quantized."""

FLOAT: Final = "float"
"""Kind, and quantization, of the file of a tier that was not quantized."""

PAGE: Final = "page"
"""Kind of the TFLite file that a tier has beside others of another format: web pages run it."""

FileKind = Literal["float", "quantized", "page"]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)


@dataclass(frozen=True)
class ModelFile:
    """An exported model.

    Attributes:
        data: The file, whole.
        format: `onnx` or `tflite`.
        quantization: `float`, or the name of the quantization.
    """

    data: bytes = field(repr=False)
    format: str
    quantization: str = FLOAT

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ExportError(f"Model files are {' or '.join(FORMATS)}, not '{self.format}'.")

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelFile:
        """Read the format from the bytes, and the quantization from the card.

        Raises:
            ExportError: If the file is damaged, or has no card.
        """
        file = cls(data, "tflite" if data[4:8] == b"TFL3" else "onnx")
        file.check()
        return replace(file, quantization=file.card.quantization)

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """The file at a path, as `from_bytes`.

        Raises:
            ExportError: If it cannot be read as well; names the path.
        """
        try:
            return cls.from_bytes(path.read_bytes())
        except OSError as error:
            raise ExportError(f"{path} cannot be read: {error.strerror or error}.") from error
        except ExportError as error:
            raise ExportError(f"{path}: {error}") from error

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def suffix(self) -> str:
        """For file names, without the dot."""
        return self.format

    @cached_property
    def card(self) -> FileCard:
        """The file's metadata.

        Raises:
            ExportError: If it has none, or none that is valid.
        """
        text = seal.card_text(self.data, self.format)
        if text is None:
            raise ExportError(
                f"The {self.format} file has no '{seal.KEY}' metadata: its classes and input size"
                " are unknown. Export it with `kedro run --pipeline=export`."
            )
        try:
            return FileCard.model_validate_json(text)
        except (ValidationError, CannabisMLError) as error:
            faults = faults_of(error) if isinstance(error, ValidationError) else error
            raise ExportError(
                f"The card of the {self.format} file makes no sense: {faults}. Export it again."
            ) from error

    def check(self) -> None:
        """See that the file is as it was written, before an interpreter gets it.

        Raises:
            ExportError: If it does not end with the SHA-256 of the rest, see `inference.seal`.
        """
        if not seal.is_whole(self.data):
            raise ExportError(
                f"This is not a whole {self.format} file of this project"
                f" ({len(self.data):,} bytes): it does not end with the SHA-256 of the rest. It was"
                " damaged, cut short or altered, or is from elsewhere; copy it again from where it"
                " came, or export it again."
            )


def shipped(kinds: Collection[str]) -> Literal["float", "quantized"]:
    """Which of a tier's files clients take: the quantized one, where there is one.

    Args:
        kinds: Kinds of its files: `FLOAT`, maybe `QUANTIZED`, maybe `PAGE`, which never is.
    """
    return QUANTIZED if QUANTIZED in kinds else FLOAT
