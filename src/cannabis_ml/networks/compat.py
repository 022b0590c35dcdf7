"""Make `import torchvision` work beside a PyTorch without CUDA.

torchvision's wheel on PyPI for Linux is linked against CUDA. Beside a CPU-only PyTorch its
compiled library cannot load, its operators stay undeclared, and `import torchvision` (hence
timm, torchmetrics and Lightning) raises `operator torchvision::nms does not exist`. Declaring the
two operators that are looked up while importing is enough: they still cannot be called, but
nothing here calls them.
"""

from __future__ import annotations

import importlib.util
import os
import sys

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: list[object] = []  # torch drops a library's declarations when the object is collected


def ready_torchvision() -> bool:
    """Declare torchvision's missing operators; call before the first import of timm or Lightning.

    Does nothing when torchvision is imported already, is not installed, or can load its compiled
    library. May be called any number of times.

    Returns:
        Whether the operators had to be declared, now or by an earlier call.
    """
    if _declared:
        return True
    if "torchvision" in sys.modules or not (library := _compiled_library()):
        return False

    import torch

    try:
        torch.ops.load_library(library)
    except (ImportError, OSError):
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for name in OPERATORS:
            fragment.define(f"{name}{SCHEMA}")
        _declared.append(fragment)
    return bool(_declared)


def _compiled_library() -> str | None:
    """Where torchvision's operators are, found without importing torchvision."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("_C.") and entry.name.endswith((".so", ".pyd", ".dylib")):
                    return entry.path
    return None
