"""What runs model files, by name."""

from __future__ import annotations

import importlib.util

from cannabis_ml.errors import ExportError

LITERT, TENSORFLOW, ONNXRUNTIME = "litert", "tensorflow", "onnxruntime"

RUNTIMES: dict[str, tuple[str, ...]] = {
    "tflite": (LITERT, TENSORFLOW),
    "onnx": (ONNXRUNTIME,),
}
"""Runtimes of every format; the first that is installed is taken where none is named."""

NAMES = (LITERT, TENSORFLOW, ONNXRUNTIME)

_MODULES = {LITERT: "ai_edge_litert", TENSORFLOW: "tensorflow", ONNXRUNTIME: "onnxruntime"}
_EXTRAS = {LITERT: "inference", TENSORFLOW: "tensorflow", ONNXRUNTIME: "inference"}


def runtime_for(format: str, name: str | None = None) -> str:
    """Choose what runs a format; imports nothing.

    Args:
        format: `onnx` or `tflite`.
        name: One of `NAMES`; None takes the first of `RUNTIMES` that is installed.

    Returns:
        One of `NAMES`.

    Raises:
        ExportError: If the runtime is unknown, or it does not run the format, or it is
            not installed; names the remedy.
    """
    able = RUNTIMES[format]
    if name is None:
        name = next((each for each in able if is_installed(each)), None)
        if name is None:
            raise runtime_missing(*able)
    if not runs(name, format):
        raise ExportError(
            f"{name} does not run {format} files: take {' or '.join(able)}, or another tier."
        )
    return name


def runs(name: str | None, format: str) -> bool:
    """Whether a runtime runs a format; None stands for any.

    Raises:
        ExportError: If the runtime is unknown.
    """
    if name is not None and name not in NAMES:
        raise ExportError(f"'{name}' is not a runtime: there are {', '.join(NAMES)}.")
    return name is None or name in RUNTIMES[format]


def is_installed(name: str) -> bool:
    """Whether the module of a runtime is there; it is not imported."""
    module = _MODULES[name]
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module without a spec, or None, in sys.modules
        return False


def runtime_missing(*names: str, error: ImportError | None = None) -> ExportError:
    """The error that names what to install: one of these."""
    how = " or ".join(f"{name}: pip install 'cannabis_ml[{_EXTRAS[name]}]'" for name in names)
    reason = f" ({error})" if error else ""
    return ExportError(f"Nothing that runs the model is installed{reason}. Install {how}.")
