"""A model file in memory, of either format."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from cannabis_ml.errors import ExportError
from cannabis_ml.inference import onnx_metadata, tflite_metadata

Format = Literal["onnx", "tflite"]
FORMATS: tuple[str, ...] = get_args(Format)

INPUT_NAME = "photos"
"""Name of the input of every model file."""

SIGNATURE = "serving_default"
"""Name of the signature of a TFLite file."""

FLOAT = "float"
"""Recipe of a file that was not quantised."""


@dataclass(frozen=True)
class ModelFile:
    """An exported model.

    Attributes:
        data: The file, whole.
        format: `onnx` or `tflite`.
        recipe: `float`, or the name of the quantisation.
    """

    data: bytes = field(repr=False)
    format: str
    recipe: str = FLOAT

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ExportError(f"Model files are {' or '.join(FORMATS)}, not '{self.format}'.")

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelFile:
        """Tell the format from the bytes, and the recipe from the card.

        Raises:
            ExportError: If the file is damaged, or has no card.
        """
        is_tflite = data[4:8] == tflite_metadata.IDENTIFIER
        file = cls(data, "tflite" if is_tflite else "onnx")
        return replace(file, recipe=str(file.card.get("recipe", FLOAT)))

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
    def card(self) -> dict[str, Any]:
        """What the file says of itself: see `cannabis_ml.inference.predictor.Predictor.card`.

        Raises:
            ExportError: If it says nothing.
        """
        card = self._metadata.read(self.data)
        if card is None:
            self._metadata.check(self.data)  # something else than a model has no card either
            raise ExportError(
                f"The {self.format} file has no '{onnx_metadata.KEY}' metadata: its classes and"
                " input size are unknown. Export it with `kedro run --pipeline=export`."
            )
        return card

    def with_card(self, card: Mapping[str, Any]) -> ModelFile:
        """The same model with this card in its metadata, sealed: see `inference.seal`."""
        return replace(self, data=self._metadata.write(self.data, card))

    @property
    def is_sealed(self) -> bool:
        """Whether it holds a seal, be it whole or broken."""
        return self._metadata.seal_state(self.data) != "none"

    def check(self) -> None:
        """See that the file is whole before an interpreter gets it.

        A sealed file is compared with its seal, which shows any damage. Of one without, only the
        structure can be checked: changed weights would pass.

        Raises:
            ExportError: If it is not.
        """
        if self._metadata.seal_state(self.data) == "altered":
            raise ExportError(
                f"The {self.format} file ({len(self.data):,} bytes) is not as it was written: its"
                " own checksum differs. It is damaged or was altered; copy it again from where it"
                " came, or export it again."
            )
        self._metadata.check(self.data)

    @property
    def _metadata(self) -> Any:
        return tflite_metadata if self.format == "tflite" else onnx_metadata
