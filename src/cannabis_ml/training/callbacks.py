"""Lightning callbacks: history, checkpoints, early stopping."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cannabis_ml._io.live_metrics import publish
from cannabis_ml._io.metric_names import mlflow_keys
from cannabis_ml.errors import TrainingError
from cannabis_ml.training.ready_lightning import lightning
from cannabis_ml.training.schedule import Schedule

logger = logging.getLogger(__name__)

STATE = "state.ckpt"
"""Name of the file with the state to resume from."""


class History(lightning.pytorch.callbacks.Callback):
    """Keeps a row per epoch, logs it, and sends it to the active MLflow run and other trackers.

    Args:
        schedule: Names the phases.
        log_as: Prefix of the names of metrics there.
    """

    def __init__(self, schedule: Schedule, log_as: str = "") -> None:
        self.schedule, self.log_as = schedule, log_as
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Rows, and the seconds spent in the current epoch."""
        return {"rows": self.rows, "seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
        self._before, self._started = state["seconds"], time.perf_counter()

    def on_train_start(self, trainer: lightning.Trainer, _: Any) -> None:
        """When resumed, send what earlier attempts measured: their run is not this one."""
        if trainer.is_global_zero:
            for row in self.rows:
                log_live(row, self.log_as)

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
            self._log(row)

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _log(self, row: dict[str, Any]) -> None:
        accuracies = ", ".join(
            f"{name.removeprefix('validation_').removesuffix('_accuracy')} {value:.1%}"
            for name, value in row.items()
            if name.endswith("_accuracy")
        )
        logger.info(
            "epoch %d/%d (%s): loss %.3f, validation %.3f (%s), %.0f s",
            row["epoch"],
            self.schedule.epochs,
            row["phase"],
            row["train_loss"],
            row["validation_loss"],
            accuracies,
            row["seconds"],
        )
        log_live(row, self.log_as)


class EarlyStopping(lightning.pytorch.callbacks.EarlyStopping):
    """Stops when the last phase no longer improves; earlier phases run in full.

    Args:
        schedule: Gives the epoch that the last phase begins with.
        patience: Epochs without a better validation loss.
    """

    def __init__(self, schedule: Schedule, patience: int) -> None:
        super().__init__("validation_loss", patience=patience, check_on_train_epoch_end=True)
        self.schedule = schedule

    def on_train_start(self, trainer: lightning.Trainer, _: Any) -> None:
        """Stop again at once when resumed after the stop."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0

    def _should_skip_check(self, trainer: lightning.Trainer) -> bool:
        last = len(self.schedule.phases) - 1
        return super()._should_skip_check(trainer) or trainer.current_epoch < (
            self.schedule.first_epoch(last)
        )


class Checkpointing(lightning.pytorch.callbacks.Checkpoint):
    """Saves the best weights and the state to resume from, atomically.

    One process per machine writes: machines need not share a disk.

    Args:
        folder: Of the files.
        every: Steps between states; another is saved at the end of every epoch.
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
        """Save a state, unless the epoch ends here, which saves one."""
        last = batch_idx + 1 >= trainer.num_training_batches
        if trainer.global_step % self.every == 0 and not last:
            self._save_state(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Runs after the other callbacks, so that the state includes theirs."""
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = trainer.current_epoch + 1, loss
            if _writes(trainer):
                _write(module.kept.state_dict(), best_file(self.folder, self.best_epoch))
        self._save_state(trainer)
        if _writes(trainer):
            for path in self.folder.glob("best-*.pt"):
                if path != best_file(self.folder, self.best_epoch):
                    path.unlink()

    def _save_state(self, trainer: lightning.Trainer) -> None:
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if _writes(trainer):
            _write(state, self.folder / STATE)


def best_file(folder: Path, epoch: int) -> Path:
    """Path of the weights of an epoch, while they are the best."""
    return folder / f"best-{epoch:05d}.pt"


def log_live(row: dict[str, Any], log_as: str = "") -> None:
    """Log the epoch to MLflow if a run is active, and to other listeners.

    Their failures do not stop training.

    Args:
        row: Metrics of one epoch, with its number under `epoch`.
        log_as: Stands before their names, and a dot between.
    """
    numbers = {name: value for name, value in row.items() if name not in ("epoch", "phase")}
    publish(numbers, log_as, row["epoch"])
    mlflow = sys.modules.get("mlflow")  # whoever started a run has imported it
    try:
        if mlflow is not None and mlflow.active_run() is not None:
            prefix = f"{log_as}." if log_as else ""
            keys = mlflow_keys([prefix + name for name in numbers])
            metrics = {keys[prefix + name]: value for name, value in numbers.items()}
            mlflow.log_metrics(metrics, step=row["epoch"])
    except Exception:
        # A full disk, a locked store, a server that is away: all lose a curve, not a training.
        logger.warning("MLflow did not take the metrics of epoch %d", row["epoch"], exc_info=True)


def _writes(trainer: lightning.Trainer) -> bool:
    return trainer.strategy.local_rank == 0 if hasattr(trainer.strategy, "local_rank") else True


def _write(state: dict[str, Any], path: Path) -> None:
    """Replace a file atomically, after fsync."""
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
            f"The disk of {path.parent} is full: the state of training could not be saved."
            " The last good one is still there. Make room and run again: training goes on from"
            " there."
        ) from error
