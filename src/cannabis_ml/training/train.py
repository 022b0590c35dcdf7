"""Training of a network on a photo set."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import cannabis_ml
from cannabis_ml._io.allocator import keeping_memory
from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.backbones import is_for_one_size
from cannabis_ml.networks.building import build_network
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.taxonomy import MISSING
from cannabis_ml.training.callbacks import best_file, log_live
from cannabis_ml.training.data import (
    CachedFeatures,
    PhasedLoader,
    Photos,
    make_loader,
)
from cannabis_ml.training.features import all_photos, cached_features
from cannabis_ml.training.loop import run
from cannabis_ml.training.module import PhotoModule
from cannabis_ml.training.quiet import quiet
from cannabis_ml.training.resume import run_folder, run_key
from cannabis_ml.training.schedule import TrainingParams, TrainingPlan
from cannabis_ml.training.solved_heads import LabeledFeatures, Problem, solved_epoch
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)


def fit(
    data: TrainingData,
    plan: TrainingPlan,
    workspace: Path | None = None,
    log_as: str = "",
    features: np.ndarray | None = None,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train on the training split, keep the epoch with the lowest validation loss.

    Starts from the plan's checkpoint, if any, else from pretrained or random weights; resumes the
    same training where it was interrupted. The same photos, parameters and machine give the same
    weights, for any number of workers and interruptions.

    Args:
        data: The photos to train on.
        plan: The network and how it is trained.
        workspace: Folder for cached features and states; None: a temporary one.
        log_as: Prefix of the names of the epochs' metrics in MLflow, which keeps the curves of
            several trainings in one run apart: `tier1` gives `tier1.train_loss`.
        features: Of every photo of the set by the backbone that training starts from, float32
            (len(data.photos), F); None computes those that are needed.

    Returns:
        The checkpoint of the best epoch, and the history: one row per epoch with epoch (from 1; 0
        are heads that were solved), phase, train_loss, validation_loss, `validation_{head}_loss`,
        `validation_{head}_accuracy`, learning_rate (of the backbone's top layer, at the end of the
        epoch) and seconds.

    Raises:
        TrainingError: If there is nothing to train or validate on, the checkpoint to start from
            does not fit, the loss becomes NaN, or disk or memory is full; the last good state
            stays in the workspace.
        WeightsError: If no configured source has weights for the backbone.
    """
    data = data.taught_by(data.teacher if plan.schedule.distillation.weight else None)
    plan = plan.for_photos(len(data))
    training = plan.training
    _check_plan(plan, taught=data.teacher is not None)
    data.check()

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(quiet())
        stack.enter_context(keeping_memory())
        if workspace is None:
            workspace = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        torch.manual_seed(training.seed)
        network, provenance = build_network(plan.model, data.taxonomy, plan.start)
        if provenance["source"] == "random":
            # Random layers have to be trained.
            plan = plan.training_everything()
        key = run_key(network, data, plan)

        size = plan.model.image_size
        rest = plan.in_steps
        sizes = rest.schedule.image_sizes(size) if rest else []
        photos = Photos(data, size, training, network.ensemble, sizes)
        held_out = Photos(data.validation(), size, training)
        weights = _class_weights(photos.targets.labels, data, training)
        _announce(plan, len(photos), len(held_out))
        rows: list[dict[str, Any]] = []
        with _explained(plan):
            if features is None and plan.schedule.solved is not None:
                # Predictions find those of all photos, so that each is looked at once.
                every = all_photos(network, data.photos)
                features = cached_features(network, every, training, workspace)
            known = partial(_features_of, network, training, workspace, features)
            if plan.schedule.solved is not None:
                parts = [LabeledFeatures(known(part), part.targets) for part in (photos, held_out)]
                problem = Problem(parts[0], parts[1], data.weights, training.loss, weights)
                rows.append(solved_epoch(network, problem, plan.schedule.solved))
                log_live(rows[0], log_as)
            solution = {name: t.detach().clone() for name, t in network.state_dict().items()}
            if rest is not None:
                train = _loader(photos, rest, known, shuffle=True)
                validation = _loader(held_out, rest, known, shuffle=False)
                folder = run_folder(workspace / "runs", key)
                module = PhotoModule(network, training, rest.schedule, weights)
                state = run(module, train, validation, folder, log_as)
                rows += state["callbacks"]["History"]["rows"]
        history = pd.DataFrame(rows)
        row = history.iloc[int(history["validation_loss"].argmin())]
        best = int(row["epoch"])
        network.load_state_dict(
            torch.load(best_file(folder, best), weights_only=True) if best else solution
        )

    card = network.card(
        plan.model.backbone,
        cannabis_ml=cannabis_ml.__version__,
        weights=provenance,
        photo_set_fingerprint=data.photos.fingerprint,
        training_key=key,
        taught=data.teacher is not None,
        best_epoch=best,
        validation_loss=float(row["validation_loss"]),
    )
    arrays = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return Checkpoint(state=arrays, card=card), history


def _announce(plan: TrainingPlan, photos: int, held_out: int) -> None:
    logger.info(
        "Training %s at %d px on %d photos, validating on %d: %s; %d steps per epoch.",
        " + ".join(plan.model.backbones),
        plan.model.image_size,
        photos,
        held_out,
        ", ".join(phase.in_words for phase in plan.schedule.phases),
        plan.schedule.steps(photos, plan.training.batch_size),
    )


def _check_plan(plan: TrainingPlan, *, taught: bool) -> None:
    """Refuse batches, teachers and sizes that do not fit the plan."""
    if plan.batch_size % plan.training.processes:
        raise TrainingError(
            f"A batch of {plan.batch_size} photos cannot be shared evenly by"
            f" {plan.training.processes} processes: make batch_size a multiple of devices × nodes."
        )
    if taught and plan.in_steps is None:
        raise TrainingError(
            "Heads that are solved learn from labels alone, and no phase follows that could learn"
            " from a teacher: set schedule.distillation.weight: 0 of the tier."
        )
    other = [phase for phase in plan.schedule.phases if phase.image_size]
    fixed = [name for name in plan.model.backbones if is_for_one_size(name)]
    if other and fixed:
        raise TrainingError(
            f"{', '.join(fixed)} takes photos of one size alone, so phase"
            f" '{other[0].name}' cannot train at {other[0].image_size} px: remove image_size from"
            " the schedule's phases, or take a convolutional backbone."
        )


def _features_of(
    network: HierarchicalNet,
    training: TrainingParams,
    workspace: Path,
    features: np.ndarray | None,
    photos: Photos,
) -> np.ndarray:
    """Of the rows of some photos, float32 (len(photos), F)."""
    if features is not None:
        return features[photos.rows]
    return cached_features(network, photos, training, workspace)


def _loader(
    photos: Photos,
    plan: TrainingPlan,
    features_of: Callable[[Photos], np.ndarray],
    *,
    shuffle: bool,
) -> PhasedLoader:
    training, schedule = plan.training, plan.schedule
    options: dict[str, Any] = {
        "batch_size": plan.batch_size,
        "shuffle": shuffle,
        "seed": training.seed,
    }
    from_photos = make_loader(photos, workers=training.workers, **options)
    if not (training.cache_features and schedule.cached_epochs):
        return PhasedLoader(from_photos)
    from_features = make_loader(
        CachedFeatures(features_of(photos), photos.targets), workers=0, **options
    )
    return PhasedLoader(from_photos, from_features, schedule.cached_epochs)


def _class_weights(
    targets: Mapping[str, np.ndarray], data: TrainingData, training: TrainingParams
) -> dict[str, torch.Tensor] | None:
    """Per multiclass head float32 (K,), inverse to the class frequencies that balancing leaves.

    Rows count by their weight, so that the weights of balancing are not applied twice.
    """
    if training.class_weights == "none":
        return None
    by_head = {}
    for head in data.taxonomy.heads:
        if head.kind != "multiclass":
            continue
        truth = targets[head.name]
        known = truth != MISSING
        each = None if data.weights is None else data.weights[known]
        counts = np.bincount(truth[known], weights=each, minlength=len(head.classes))
        there = counts > 0
        weights = counts.sum() / (max(1, there.sum()) * np.where(there, counts, 1))
        by_head[head.name] = torch.from_numpy(np.where(there, weights, 0).astype(np.float32))
    return by_head


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc", re.I
)


_TRAINING_ERROR = re.compile(r"cannabis_ml\.errors\.TrainingError: (.+)", re.S)


@contextmanager
def _explained(plan: TrainingPlan) -> Iterator[None]:
    """Explain errors for lack of memory and others, here or in another process of the training."""
    size = plan.model.image_size
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        match = _TRAINING_ERROR.search(str(error))
        if match:
            raise TrainingError(match.group(1).strip()) from error
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise TrainingError(
                f"Memory ran out with {plan.batch_size} photos of {size} px per step. Lower"
                " batch_size, model.image_size or last_blocks, or use precision"
                " bf16-mixed on a GPU. The last good state is kept: what does not change the"
                " training (workers) lets it go on from there."
            ) from error
        raise
    except Exception as error:
        if "more than 1 value per channel" in str(error):
            raise TrainingError(
                "BatchNorm cannot learn: a step had a single photo for a process, and at"
                f" {size} px this backbone's map is a single place. Bring more photos,"
                " raise model.image_size, or train the heads alone."
            ) from error
        # Another process of the training passes its error on as text.
        match = _TRAINING_ERROR.search(str(error))
        if match and not isinstance(error, TrainingError):
            raise TrainingError(match.group(1).strip()) from error
        raise
