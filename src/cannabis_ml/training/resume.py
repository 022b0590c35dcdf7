"""What an interrupted training resumes from: its key, its folder, its last state."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.training.callbacks import STATE
from cannabis_ml.training.features import weights_hash
from cannabis_ml.training.ready_lightning import lightning
from cannabis_ml.training.schedule import TrainingPlan
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

RUNS_KEPT = 3
"""Number of newest trainings, interrupted or finished, whose state a workspace keeps."""

WITHOUT_EFFECT = {"workers", "checkpoint_every"}
"""Fields of `TrainingParams` that do not change the result."""

DECIDING = (
    "cannabis_ml.feedback.closed_form",
    "cannabis_ml.networks.attention",
    "cannabis_ml.networks.backbones",
    "cannabis_ml.networks.building",
    "cannabis_ml.networks.decoding",
    "cannabis_ml.networks.experts",
    "cannabis_ml.networks.inplace_relu6",
    "cannabis_ml.networks.network",
    "cannabis_ml.networks.params",
    "cannabis_ml.networks.weights",
    "cannabis_ml.photos.resize",
    "cannabis_ml.photos.stored",
    "cannabis_ml.training.data",
    "cannabis_ml.training.distillation",
    "cannabis_ml.training.features",
    "cannabis_ml.training.geometry",
    "cannabis_ml.training.loop",
    "cannabis_ml.training.losses",
    "cannabis_ml.training.mixing",
    "cannabis_ml.training.module",
    "cannabis_ml.training.phases",
    "cannabis_ml.training.schedule",
    "cannabis_ml.training.solved_heads",
    "cannabis_ml.training.train",
    "cannabis_ml.training.training_data",
)
"""Modules whose code changes the trained weights. Those that log, write or score are left out: a
change in them does not invalidate an interrupted training."""


def code_of(module: str) -> str:
    """Syntax tree of a module, without comments, docstrings and line numbers."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Docstrings, of attributes too.
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def run_key(network: HierarchicalNet, data: TrainingData, plan: TrainingPlan) -> str:
    """Hash of everything that the trained weights depend on; states of other keys are not resumed.

    Covers initial weights, fingerprints of the data, taxonomy, parameters, the teacher's
    predictions, and the code of `DECIDING`.
    """
    digest = hashlib.sha256()
    for name in DECIDING:
        digest.update(code_of(name).encode())
    parts = [
        torch.__version__,
        lightning.__version__,
        data.fingerprints,
        data.taxonomy.sha256,
        plan.model.model_dump(mode="json", exclude={"weights", "experts"}),
        plan.training.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        plan.schedule.model_dump(
            mode="json", exclude={"distillation": {"compare_without_teacher"}}
        ),
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    digest.update(weights_hash(network).encode())
    for name, tensor in sorted(network.heads.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    for name, probs in data.teacher_probs().items():
        digest.update(name.encode() + probs.tobytes())
    return digest.hexdigest()


def run_folder(runs: Path, key: str) -> Path:
    """Folder of a training; removes those of the oldest others."""
    folder = runs / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(
        (path for path in runs.iterdir() if path != folder),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in others[RUNS_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    if (folder / STATE).is_file():
        logger.info("Resuming the same training (%s).", folder)
    return folder


def last_state(folder: Path) -> dict[str, Any] | None:
    """State of the training in a folder; None if there is none, or it is damaged."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # Whatever a damaged file makes the reader stumble over.
        logger.warning("%s is damaged: training starts from the beginning.", path, exc_info=True)
        path.unlink()
        return None
    return state


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
