"""From a photo set to a checkpoint, and from a checkpoint to predictions."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannabis_ml.models.compat import ready_torchvision

ready_torchvision()

import lightning  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import callbacks  # noqa: E402
from tqdm import tqdm  # noqa: E402

import cannabis_ml  # noqa: E402
from cannabis_ml.datasets.checkpoint import Checkpoint  # noqa: E402
from cannabis_ml.datasets.photo_set import labels_of, photo_set_fingerprint  # noqa: E402
from cannabis_ml.errors import TrainingError  # noqa: E402
from cannabis_ml.models.data import Photos, make_loader  # noqa: E402
from cannabis_ml.models.module import PhotoModule, channels_last  # noqa: E402
from cannabis_ml.models.network import (  # noqa: E402
    HierarchicalNet,
    probabilities,
    restore,
)
from cannabis_ml.models.params import ModelParams, TrainingParams  # noqa: E402
from cannabis_ml.models.weights import load_backbone, normalisation  # noqa: E402
from cannabis_ml.taxonomy import Taxonomy  # noqa: E402
from cannabis_ml.tracking import mlflow_key  # noqa: E402

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


def fit(
    photo_set: datasets.Dataset,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    *,
    augmented_photos: datasets.Dataset | None = None,
    balanced_rows: pd.DataFrame | None = None,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train on the training split, keep the epoch with the lowest validation loss.

    The same photos, parameters and machine give the same weights, whatever the number of workers.

    Args:
        photo_set: Photos with labels and splits.
        taxonomy: Every label of the photo set is in it.
        model: The network.
        training: How to train it.
        augmented_photos: Copies of training photos, shown in turn with the photos themselves.
        balanced_rows: `row` of every training photo that an epoch shows, and its `weight` in the
            loss; all, once, alike, where None.

    Returns:
        The checkpoint of the best epoch, and the history: one row per epoch with epoch (from 1),
        train_loss, validation_loss, `validation_{head}_loss`, `validation_{head}_accuracy`,
        learning_rate (of the backbone's top layer, at the end of the epoch) and seconds.

    Raises:
        TrainingError: If there is nothing to train or validate on, or the loss becomes NaN.
        WeightsError: If no configured source has weights for the backbone.
    """
    table = labels_of(photo_set)
    rows = {name: np.flatnonzero(table["split"] == name) for name in ("train", "validation")}
    _check_trainable(table, rows, taxonomy)
    weights = None
    if balanced_rows is not None:
        _check_rows(balanced_rows, table)
        rows["train"], weights = balanced_rows["row"].to_numpy(), balanced_rows["weight"].to_numpy()

    with torch.random.fork_rng(), _quiet(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(training.seed)
        backbone, provenance = load_backbone(model)
        mean, std = normalisation(backbone)
        network = HierarchicalNet(
            backbone,
            taxonomy,
            dropout=model.dropout,
            image_size=model.image_size,
            mean=mean,
            std=std,
        )
        train, validation = (
            make_loader(
                Photos(photo_set, rows[name], taxonomy, model.image_size, training, copies, weight),
                batch_size=training.batch_size,
                workers=training.workers,
                shuffle=name == "train",
                seed=training.seed,
            )
            for name, copies, weight in (
                ("train", augmented_photos, weights),
                ("validation", None, None),
            )
        )
        logger.info(
            "Training %s at %d px on %d photos, validating on %d; at most %d epochs of %d steps.",
            model.backbone,
            model.image_size,
            len(rows["train"]),
            len(rows["validation"]),
            training.epochs,
            len(train),
        )
        # Layers that know nothing yet have to learn.
        frozen_layers = 0 if provenance["source"] == "random" else training.frozen_layers
        module = PhotoModule(network, training, frozen_layers)
        best, history = _run(module, train, validation, training, Path(folder))
        module.load_state_dict(torch.load(best, weights_only=True)["state_dict"])

    row = history.iloc[int(history["validation_loss"].argmin())]
    card = {
        "cannabis_ml": cannabis_ml.__version__,
        "backbone": model.backbone,
        "image_size": model.image_size,
        "mean": list(mean),
        "std": list(std),
        "dropout": model.dropout,
        "taxonomy": taxonomy.model_dump(mode="json"),
        "taxonomy_sha256": taxonomy.sha256,
        "weights": provenance,
        "photo_set": photo_set_fingerprint(photo_set),
        "best_epoch": int(row["epoch"]),
        "validation_loss": float(row["validation_loss"]),
    }
    state = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return Checkpoint(state=state, card=card), history


def predict(
    checkpoint: Checkpoint,
    photo_set: datasets.Dataset,
    splits: Sequence[str] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    accelerator: str = "auto",
) -> pd.DataFrame:
    """Probabilities of every head for every photo of the given splits.

    Args:
        checkpoint: As from `fit`.
        photo_set: As for `fit`; labels are not looked at.
        splits: All where None.
        batch_size: Photos at a time.
        workers: Processes that decode photos.
        accelerator: `cpu` leaves a GPU alone.

    Returns:
        photo_id, split, and per head a column of float32 arrays (K,) in class order.
    """
    network = restore(checkpoint)
    taxonomy = network.taxonomy
    cuda = accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    network = channels_last(network).to(device)
    table = labels_of(photo_set)
    chosen = np.ones(len(table), bool) if splits is None else table["split"].isin(splits)
    rows = np.flatnonzero(chosen)
    loader = make_loader(
        Photos(photo_set, rows, taxonomy, network.image_size),
        batch_size=batch_size,
        workers=workers,
        shuffle=False,
    )
    found: dict[str, list[np.ndarray]] = {head.name: [] for head in taxonomy.heads}
    with torch.inference_mode():
        for photos, _ in tqdm(loader, "predicting", unit="batch", leave=False, disable=None):
            photos = photos.to(device, non_blocking=True)  # noqa: PLW2901
            logits = network(photos.contiguous(memory_format=torch.channels_last))
            for head in taxonomy.heads:
                found[head.name].extend(probabilities(head, logits[head.name]).cpu().numpy())
    predictions = table.loc[chosen, ["photo_id", "split"]].reset_index(drop=True)
    for name, values in found.items():
        predictions[name] = pd.Series(values, dtype=object)
    return predictions


def _check_rows(balanced_rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse rows that were chosen from another photo set: they may point at test photos."""
    rows = balanced_rows["row"].to_numpy()
    known = rows[(rows >= 0) & (rows < len(table))]
    strays = len(rows) - int((table["split"].to_numpy()[known] == "train").sum())
    if strays:
        raise TrainingError(
            f"{strays:,} of {len(rows):,} rows of balanced_rows are no training photos of the photo"
            " set: it has changed since. Run the balancing pipeline again, or all of"
            " `kedro run --pipelines train`."
        )


def _check_trainable(table: pd.DataFrame, rows: dict[str, np.ndarray], taxonomy: Taxonomy) -> None:
    for split, chosen in rows.items():
        if len(chosen) == 0:
            counts = table["split"].value_counts().to_dict()
            raise TrainingError(
                f"There is no photo in the {split} split (photos per split: {counts})."
                " Bring more photos, or change the fractions under ingestion."
            )
        if not table.iloc[chosen][taxonomy.columns].notna().any(axis=None):
            raise TrainingError(
                f"None of the {len(chosen):,} photos of the {split} split has a label of"
                f" {', '.join(head.name for head in taxonomy.heads)}."
            )


def _run(
    module: PhotoModule,
    train: Any,
    validation: Any,
    training: TrainingParams,
    folder: Path,
) -> tuple[Path, pd.DataFrame]:
    """Run Lightning's loop; returns the file of the best epoch and the history."""
    keep = callbacks.ModelCheckpoint(folder, monitor="validation_loss", save_weights_only=True)
    chronicle = _Chronicle(training)
    extras: list[lightning.Callback] = [chronicle, keep]
    extras.append(callbacks.EarlyStopping("validation_loss", patience=training.patience))
    on_screen = sys.stderr.isatty()
    if on_screen:
        extras.append(callbacks.TQDMProgressBar(refresh_rate=1, leave=False))
    before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    trainer = lightning.Trainer(
        max_epochs=training.epochs,
        accelerator=training.accelerator,
        devices=1,
        precision=training.precision,
        gradient_clip_val=training.gradient_clip,
        # CUDA lacks a deterministic backward pass for some poolings: warn instead of refusing.
        deterministic="warn" if torch.cuda.is_available() else True,
        callbacks=extras,
        logger=False,
        enable_progress_bar=on_screen,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    try:
        trainer.fit(module, train, validation)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_before)
    return Path(keep.best_model_path), pd.DataFrame(chronicle.rows)


class _Chronicle(callbacks.Callback):
    """Keeps one row per epoch, says it in a line, and passes it on to an active MLflow run."""

    def __init__(self, training: TrainingParams) -> None:
        self.training = training
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Runs after validation and after the module's own hook, so every metric is there."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        schedule: Any = trainer.lr_scheduler_configs[0].scheduler
        factor = schedule.lr_lambdas[0](trainer.global_step - 1)
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": values.pop("train_loss"),
            "validation_loss": values.pop("validation_loss"),
            **values,
            "learning_rate": self.training.learning_rate * factor,
            "seconds": time.perf_counter() - self._started,
        }
        self.rows.append(row)
        accuracies = ", ".join(
            f"{name.removeprefix('validation_').removesuffix('_accuracy')} {value:.1%}"
            for name, value in values.items()
            if name.endswith("_accuracy")
        )
        logger.info(
            "epoch %d/%d: loss %.3f, validation %.3f (%s), %.0f s",
            row["epoch"],
            self.training.epochs,
            row["train_loss"],
            row["validation_loss"],
            accuracies,
            row["seconds"],
        )
        _log_live(row)


def _log_live(row: dict[str, Any]) -> None:
    """Show the epoch in MLflow if a run is active; tracking never stops training."""
    mlflow = sys.modules.get("mlflow")  # whoever started a run has imported it
    try:
        if mlflow is not None and mlflow.active_run() is not None:
            values = {mlflow_key(k): value for k, value in row.items() if k != "epoch"}
            mlflow.log_metrics(values, step=row["epoch"])
    except Exception:
        # A full disk, a locked store, a server that is away: all lose a curve, not a training.
        logger.warning("MLflow did not take the metrics of epoch %d", row["epoch"], exc_info=True)


_CHATTER = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "`Trainer.fit` stopped",
    "You are using a CUDA device",
    "LOCAL_RANK",
    "Loading `train_dataloader`",
    "Using bfloat16",
    "Using 16bit",
)
_CHATTER_WARNINGS = (
    r".*does not have many workers.*",
    r".*number of training batches .* is smaller than the logging interval.*",
    r".*GPU available but not used.*",
    r"Found \d+ module\(s\) in eval mode at the start of training.*",  # the frozen layers
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what Lightning says about itself; its other messages pass."""
    spoken = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    others = logging.getLogger("lightning.pytorch.accelerators.cuda")

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_CHATTER)

    with warnings.catch_warnings():
        for pattern in _CHATTER_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        for source in (spoken, others):
            source.addFilter(is_news)
        try:
            yield
        finally:
            for source in (spoken, others):
                source.removeFilter(is_news)
