"""What watches training: the history, the states to resume from, the end."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

import lightning  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import callbacks  # noqa: E402

from cannabis_ml._io.metric_names import mlflow_keys  # noqa: E402
from cannabis_ml.errors import TrainingError  # noqa: E402
from cannabis_ml.training.recipe import Recipe  # noqa: E402

logger = logging.getLogger(__name__)

STATE = "state.ckpt"
"""All that training needs to go on from."""


class Chronicle(callbacks.Callback):
    """Keeps one row per epoch, says it in a line, and passes it on to an active MLflow run.

    Args:
        recipe: Names the phases.
        log_as: Stands before the names of metrics in MLflow.
    """

    def __init__(self, recipe: Recipe, log_as: str = "") -> None:
        self.recipe, self.log_as = recipe, log_as
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Rows, and the seconds of the epoch under way."""
        return {"rows": self.rows, "seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
        self._before, self._started = state["seconds"], time.perf_counter()

    def on_train_epoch_start(self, *_: Any) -> None:
        self._started, self._before = time.perf_counter(), 0.0

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Runs after validation and after the module's own hook, so every metric is there."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            "phase": module.phase.name,
            "train_loss": values.pop("train_loss"),
            "validation_loss": values.pop("validation_loss"),
            **values,
            "learning_rate": module.learning_rate(int(trainer.num_training_batches) - 1),
            "seconds": self._seconds(),
        }
        self.rows.append(row)
        self._started, self._before = time.perf_counter(), 0.0
        if trainer.is_global_zero:
            self._tell(row)

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _tell(self, row: dict[str, Any]) -> None:
        accuracies = ", ".join(
            f"{name.removeprefix('validation_').removesuffix('_accuracy')} {value:.1%}"
            for name, value in row.items()
            if name.endswith("_accuracy")
        )
        logger.info(
            "epoch %d/%d (%s): loss %.3f, validation %.3f (%s), %.0f s",
            row["epoch"],
            self.recipe.epochs,
            row["phase"],
            row["train_loss"],
            row["validation_loss"],
            accuracies,
            row["seconds"],
        )
        log_live(row, self.log_as)


class Patience(callbacks.EarlyStopping):
    """Stops when the last phase no longer improves; earlier phases run to their end.

    Args:
        recipe: Tells where the last phase begins.
        patience: Epochs without a better validation loss.
    """

    def __init__(self, recipe: Recipe, patience: int) -> None:
        super().__init__("validation_loss", patience=patience, check_on_train_epoch_end=True)
        self.recipe = recipe

    def on_train_start(self, trainer: lightning.Trainer, _: Any) -> None:
        """Stay stopped, if that is where training was interrupted."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0

    def _should_skip_check(self, trainer: lightning.Trainer) -> bool:
        last = len(self.recipe.phases) - 1
        return super()._should_skip_check(trainer) or trainer.current_epoch < (
            self.recipe.first_epoch(last)
        )


class Keeper(callbacks.Checkpoint):
    """Keeps the best weights, and the state to resume from; each whole or not at all.

    Written by one process per machine: machines need not share a disk.

    Args:
        folder: Where the files are kept.
        every: Steps between states; one is kept at the end of every epoch besides.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.best_epoch, self.best_loss = 0, float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_loss": self.best_loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_epoch, self.best_loss = state["best_epoch"], state["best_loss"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, _: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep a state, unless the epoch is at its end anyway."""
        last = batch_idx + 1 >= trainer.num_training_batches
        if trainer.global_step % self.every == 0 and not last:
            self._keep_state(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Runs after all others: what they know of the epoch is in the state."""
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = trainer.current_epoch + 1, loss
            if _writes(trainer):
                _write(module.kept.state_dict(), best_file(self.folder, self.best_epoch))
        self._keep_state(trainer)
        if _writes(trainer):
            for path in self.folder.glob("best-*.pt"):
                if path != best_file(self.folder, self.best_epoch):
                    path.unlink()

    def _keep_state(self, trainer: lightning.Trainer) -> None:
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if _writes(trainer):
            _write(state, self.folder / STATE)


def best_file(folder: Path, epoch: int) -> Path:
    """Where the weights of an epoch are kept while they are the best."""
    return folder / f"best-{epoch:05d}.pt"


def log_live(row: dict[str, Any], log_as: str = "") -> None:
    """Show the epoch in MLflow if a run is active; tracking never stops training.

    Args:
        row: Metrics of one epoch, with its number under `epoch`.
        log_as: Stands before their names, and a dot between.
    """
    mlflow = sys.modules.get("mlflow")  # whoever started a run has imported it
    try:
        if mlflow is not None and mlflow.active_run() is not None:
            prefix = f"{log_as}." if log_as else ""
            numbers = {
                prefix + name: value
                for name, value in row.items()
                if name not in ("epoch", "phase")
            }
            keys = mlflow_keys(numbers)
            numbers = {keys[name]: value for name, value in numbers.items()}
            mlflow.log_metrics(numbers, step=row["epoch"])
    except Exception:
        # A full disk, a locked store, a server that is away: all lose a curve, not a training.
        logger.warning("MLflow did not take the metrics of epoch %d", row["epoch"], exc_info=True)


def _writes(trainer: lightning.Trainer) -> bool:
    return trainer.strategy.local_rank == 0 if hasattr(trainer.strategy, "local_rank") else True


def _write(state: dict[str, Any], path: Path) -> None:
    """Put a file in place of an older one, on the disk before it counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except (OSError, RuntimeError) as error:
        # PyTorch's writer turns a failed write into a RuntimeError without a number.
        aside.unlink(missing_ok=True)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or (
            isinstance(error, RuntimeError) and "write" in str(error).lower()
        )
        if not full:
            raise
        raise TrainingError(
            f"The disk of {path.parent} is full: the state of training could not be kept."
            " The last good one is still there. Make room and run again: training goes on from"
            " there."
        ) from error
