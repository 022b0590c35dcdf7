"""Answers from exported models: NumPy and a runtime, no training framework.

The public API. What it names is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cannabis_ml.inference.answer import Answer, HeadAnswer
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.local_tier import LocalTier
    from cannabis_ml.inference.model_file import ModelFile
    from cannabis_ml.inference.predictor import Predictor, open_model
    from cannabis_ml.inference.remote_tier import RemoteTier
    from cannabis_ml.inference.report import HeadReport, Report, ReportSettings
    from cannabis_ml.inference.reporter import Reporter
    from cannabis_ml.inference.router import BlockingRouter, Router
    from cannabis_ml.inference.routing import RoutingRule

__all__ = [
    "Answer",
    "BlockingRouter",
    "Bundle",
    "HeadAnswer",
    "HeadReport",
    "LocalTier",
    "ModelFile",
    "Predictor",
    "RemoteTier",
    "Report",
    "ReportSettings",
    "Reporter",
    "Router",
    "RoutingRule",
    "open_model",
]

_MODULES = {
    "Answer": "answer",
    "BlockingRouter": "router",
    "Bundle": "bundle",
    "HeadAnswer": "answer",
    "HeadReport": "report",
    "LocalTier": "local_tier",
    "ModelFile": "model_file",
    "Predictor": "predictor",
    "RemoteTier": "remote_tier",
    "Report": "report",
    "ReportSettings": "report",
    "Reporter": "reporter",
    "Router": "router",
    "RoutingRule": "routing",
    "open_model": "predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
