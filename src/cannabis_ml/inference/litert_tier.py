"""Ask an exported TFLite model about photos, through LiteRT."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from cannabis_ml._io.parallel import available_workers
from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.tier import Tier, runtime_missing

SIGNATURE = "serving_default"


class LitertTier(Tier):
    """A TFLite model, ready to answer; XNNPACK runs what it can.

    The graph takes one photo: several are asked one after the other. Calls from several threads
    take turns.

    Args:
        model: The file; see `open_tier` for what is checked.
        threads: CPU threads of one answer; 0 takes all that this process may use.

    Raises:
        ExportError: If the file is damaged or does not say what its outputs mean.
    """

    format = "tflite"
    largest_batch = 1

    def __init__(self, model: ModelFile, threads: int = 0) -> None:
        super().__init__(model.card)
        self._lock = threading.Lock()
        interpreter = _interpreter(model.data, threads or available_workers())
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
            raise _cannot_open(error) from error
        self._outputs = {
            name: tuple(int(n) for n in details["shape"][1:]) for name, details in outputs.items()
        }
        self._check_outputs()

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
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
            raise ExportError(f"LiteRT could not run the model: {error}") from error


def _interpreter(data: bytes, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise runtime_missing("ai-edge-litert", error) from error
    try:
        return Interpreter(model_content=data, num_threads=threads)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _cannot_open(error) from error


def _signature(interpreter: Any) -> Any:
    names = list(interpreter.get_signature_list())
    if SIGNATURE not in names and len(names) != 1:
        raise ExportError(
            f"The tflite model has {len(names)} signatures and none is '{SIGNATURE}': its outputs"
            " have no names. Export it with `kedro run --pipeline=export`."
        )
    return interpreter.get_signature_runner(SIGNATURE if SIGNATURE in names else names[0])


def _cannot_open(error: Exception) -> ExportError:
    return ExportError(
        f"LiteRT cannot open the model: {error}. The file is damaged, or was made for a newer"
        " runtime."
    )
