"""Libraries that write model files, and how to install a missing one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from cannabis_ml.errors import ExportError

WRITERS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "tflite": ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
}
"""Modules that write a format and check what was written."""

INSTALL = {
    "onnx": "pip install 'cannabis_ml[export]'",
    "tflite": "pip install --no-deps -r requirements-tflite.lock",
}
"""Command that installs them; the lock file explains why no extra can."""


def require_writers(formats: Iterable[str]) -> None:
    """Check that the libraries that write these formats are installed, without importing them.

    Args:
        formats: `onnx`, `tflite`.

    Raises:
        ExportError: Names the missing libraries of all formats and how to install them.
    """
    faults = []
    for name in dict.fromkeys(formats):
        missing = [module for module in WRITERS[name] if importlib.util.find_spec(module) is None]
        if missing:
            faults.append(
                f"{name}: {', '.join(missing)} not installed; {INSTALL[name]}, or run make, which"
                " installs all"
            )
    if faults:
        raise ExportError("\n  ".join(["Some model files cannot be written here:", *faults]))
