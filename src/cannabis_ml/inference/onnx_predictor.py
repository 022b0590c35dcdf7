"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from cannabis_ml._io.parallel import available_workers
from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.inference.runtimes import ONNXRUNTIME, runtime_missing

MANY = 1 << 20

_ERRORS_ONLY = 3
"""ONNX Runtime's severity from which it writes to stderr: what fails is raised as well."""


class ONNXPredictor(Predictor):
    """An opened ONNX file.

    Where weights were quantized dynamically, the scale of a photo's values is taken over the whole
    batch, so that an answer would depend on the photos beside it: such models get one at a time.

    Args:
        model: The file; see `open_model` for what is checked.
        threads: CPU threads for one operator; 0 takes all that this process may use. Threads
            without work sleep: spinning, as is ONNX Runtime's default, they use up a core between
            two photos, and hold up whatever else the machine does.
        tier: Name of the tier; None takes the card's.

    Raises:
        ExportError: If the file is damaged or has no card of its outputs.
    """

    format = "onnx"
    runtime = ONNXRUNTIME

    def __init__(self, model: ModelFile, threads: int = 0, tier: str | None = None) -> None:
        super().__init__(model.card, tier)
        self.largest_batch = 1 if self.card.quantization.startswith("dynamic") else MANY
        self._session = _session(model.data, threads)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        is_uint8 = bool(inputs) and inputs[0].type == "tensor(uint8)"
        self._check_input(len(inputs), shape, is_uint8)
        self._check_outputs()
        self._input = inputs[0].name

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            output.name: tuple(n if isinstance(n, int) else 0 for n in output.shape[1:])
            for output in self._session.get_outputs()
        }

    def invoke(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names = list(self.output_shapes)
        try:
            outputs = self._session.run(names, {self._input: pixels})
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ExportError(f"ONNX Runtime could not run the model: {error}") from error
        return dict(zip(names, outputs, strict=True))


def _session(data: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise runtime_missing(ONNXRUNTIME, error=error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_workers()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    # Weights of more than 7 bits, as files from elsewhere have them, are multiplied as unsigned: on
    # x86 without VNNI sums of signed ones saturate. Weights of our files stay as they are.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(
            data,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=False,  # which would print, and try the same again
        )
    except Exception as error:  # as above
        raise ExportError(
            f"ONNX Runtime cannot open the model: {error}. The file is damaged, or was made for a"
            " newer runtime."
        ) from error
