"""What every benchmark needs: where it ran, medians, and two sides taken in turns."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "opencv-python-headless", "pillow", "scikit-learn")


def machine(libraries: tuple[str, ...] = LIBRARIES) -> str:
    """Processor, cores that may be used, load, Python and the versions of libraries."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    found = ", ".join(f"{name} {_version(name)}" for name in libraries)
    return (
        f"{_processor()}, {cores} cores{load}, {platform.system()}\n"
        f"Python {platform.python_version()}, {found}"
    )


def median_seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of `repeats` calls, after one that warms up."""
    function()
    return statistics.median(_seconds(function) for _ in range(repeats))


def alternate(sides: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median wall time of each side; the sides take turns, so that both meet the same load."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for function in sides.values():
        function()
    for _ in range(repeats):
        for name, function in sides.items():
            times[name].append(_seconds(function))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
