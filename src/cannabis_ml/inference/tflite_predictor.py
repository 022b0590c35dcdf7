"""TFLite files, run by LiteRT or by TensorFlow's own interpreter."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np

from cannabis_ml._io.parallel import available_workers
from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import SIGNATURE, ModelFile
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.inference.runtimes import LITERT, TENSORFLOW, runtime_missing


class TFLitePredictor(Predictor):
    """An opened TFLite file; XNNPACK runs what it can.

    The graph takes one photo: several are asked one after the other. Calls from several threads
    take turns.

    Args:
        model: The file; see `open_model` for what is checked.
        threads: CPU threads of one answer; 0 takes all that this process may use.
        runtime: `litert` or `tensorflow`.
        tier: Name of the tier; None takes the card's.

    Raises:
        ExportError: If the file is damaged or has no card of its outputs.
    """

    format = "tflite"
    largest_batch = 1

    def __init__(
        self, model: ModelFile, threads: int = 0, runtime: str = LITERT, tier: str | None = None
    ) -> None:
        super().__init__(model.card, tier)
        self.runtime = runtime
        self._lock = threading.Lock()
        interpreter = self._interpreter(model.data, threads or available_workers())
        try:
            inputs = interpreter.get_input_details()
            # Before room is made for them: a broken size may ask for all memory.
            is_uint8 = bool(inputs) and inputs[0]["dtype"] == np.uint8
            shape = inputs[0]["shape"].tolist() if inputs else []
            self._check_input(len(inputs), shape, is_uint8)
            if shape[0] != 1:
                raise ExportError("The tflite model takes several photos at once, not one.")
            interpreter.allocate_tensors()
            self._runner = _signature(interpreter)
            (self._input,) = self._runner.get_input_details()
            outputs = self._runner.get_output_details()
        except (ValueError, RuntimeError, KeyError, MemoryError) as error:
            raise self._cannot_open(error) from error
        self._outputs = {
            name: tuple(int(n) for n in details["shape"][1:]) for name, details in outputs.items()
        }
        self._check_outputs()

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._outputs

    def invoke(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        if len(pixels) == 1:
            return self._one(pixels)
        each = [self._one(pixels[i : i + 1]) for i in range(len(pixels))]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    def _one(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        try:
            with self._lock:
                return self._runner(**{self._input: pixels})
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{self.runtime} could not run the model: {error}") from error

    def _interpreter(self, data: bytes, threads: int) -> Any:
        interpreter = _interpreter_class(self.runtime)
        try:
            with warnings.catch_warnings():
                # TensorFlow's warns at every call that LiteRT is its successor.
                warnings.filterwarnings(
                    "ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated"
                )
                return interpreter(model_content=data, num_threads=threads)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise self._cannot_open(error) from error

    def _cannot_open(self, error: Exception) -> ExportError:
        return ExportError(
            f"{self.runtime} cannot open the model: {error}. The file is damaged, or was made for a"
            " newer runtime."
        )


def _interpreter_class(runtime: str) -> Any:
    try:
        if runtime == TENSORFLOW:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else it logs its own build
            from tensorflow.lite.python.interpreter import Interpreter
        else:
            from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise runtime_missing(runtime, error=error) from error
    return Interpreter


def _signature(interpreter: Any) -> Any:
    names = list(interpreter.get_signature_list())
    if SIGNATURE not in names and len(names) != 1:
        raise ExportError(
            f"The tflite model has {len(names)} signatures and none is '{SIGNATURE}': its outputs"
            " have no names. Export it with `kedro run --pipeline=export`."
        )
    return interpreter.get_signature_runner(SIGNATURE if SIGNATURE in names else names[0])
