"""From a photo set to a checkpoint."""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

import lightning  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import callbacks  # noqa: E402

import cannabis_ml  # noqa: E402
from cannabis_ml.errors import TrainingError  # noqa: E402
from cannabis_ml.networks.building import build_network  # noqa: E402
from cannabis_ml.networks.checkpoint import Checkpoint  # noqa: E402
from cannabis_ml.networks.network import HierarchicalNet  # noqa: E402
from cannabis_ml.taxonomy import MISSING  # noqa: E402
from cannabis_ml.training.callbacks import (  # noqa: E402
    STATE,
    Chronicle,
    Keeper,
    Patience,
    best_file,
    log_live,
)
from cannabis_ml.training.data import (  # noqa: E402
    CachedFeatures,
    PhasedLoader,
    Photos,
    make_loader,
)
from cannabis_ml.training.features import cached_features, weights_hash  # noqa: E402
from cannabis_ml.training.module import PhotoModule  # noqa: E402
from cannabis_ml.training.quiet import quiet  # noqa: E402
from cannabis_ml.training.recipe import TrainingParams, TrainingPlan  # noqa: E402
from cannabis_ml.training.training_data import TrainingData  # noqa: E402

logger = logging.getLogger(__name__)

RUNS_KEPT = 3
"""Interrupted or finished runs whose state stays in a workspace, the newest ones."""

DECIDE_NOTHING = {"workers", "checkpoint_every"}
"""Fields of `TrainingParams` that change no result."""


def fit(
    data: TrainingData, plan: TrainingPlan, workspace: Path | None = None, log_as: str = ""
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train on the training split, keep the epoch with the lowest validation loss.

    Starts from the plan's own checkpoint, else from pretrained weights, else from random ones; and
    goes on where the very same training was interrupted. The same photos, parameters and machine
    give the same weights, whatever the number of workers and interruptions.

    Args:
        data: The photos to learn from.
        plan: The network and how it is trained.
        workspace: Where features and states are kept; None: nowhere beyond this call.
        log_as: Stands before the names of the epochs' metrics in MLflow, so that the curves of
            several trainings in one run do not mix: `tier1` gives `tier1.train_loss`.

    Returns:
        The checkpoint of the best epoch, and the history: one row per epoch with epoch (from 1),
        phase, train_loss, validation_loss, `validation_{head}_loss`, `validation_{head}_accuracy`,
        learning_rate (of the backbone's top layer, at the end of the epoch) and seconds.

    Raises:
        TrainingError: If there is nothing to train or validate on, the checkpoint to start from
            does not fit, the loss becomes NaN, or disk or memory is full; the last good state
            stays in the workspace.
        WeightsError: If no configured source has weights for the backbone.
    """
    training = plan.training
    if plan.batch_size % training.processes:
        raise TrainingError(
            f"A batch of {plan.batch_size} photos cannot be shared evenly by {training.processes}"
            " processes: make batch_size a multiple of devices × nodes."
        )
    if plan.recipe.distillation.weight == 0:
        data = data.taught_by(None)
    data.check()

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(quiet())
        if workspace is None:
            workspace = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        torch.manual_seed(training.seed)
        network, provenance = build_network(plan.model, data.taxonomy, plan.start)
        if provenance["source"] == "random":
            # Layers that know nothing yet have to learn.
            plan = plan.learning_everywhere()
        key = run_key(network, data, plan)
        folder = _run_folder(workspace / "runs", key)

        size = plan.model.image_size
        photos = Photos(data, size, training, network.ensemble)
        held_out = Photos(data.validation(), size, training)
        weights = _class_weights(photos.known.targets, data, training)
        with _explained(plan):
            train = _loader(network, photos, plan, workspace, shuffle=True)
            validation = _loader(network, held_out, plan, workspace, shuffle=False)
            logger.info(
                "Training %s at %d px on %d photos, validating on %d; at most %d epochs of %d"
                " steps: %s.",
                " + ".join(plan.model.backbones),
                size,
                len(photos),
                len(held_out),
                plan.recipe.epochs,
                len(train),
                ", ".join(f"{phase.name} {phase.epochs}" for phase in plan.recipe.phases),
            )
            module = PhotoModule(network, training, plan.recipe, weights)
            state = _run(module, train, validation, folder, log_as)
        best = state["callbacks"]["Keeper"]["best_epoch"]
        network.load_state_dict(torch.load(best_file(folder, best), weights_only=True))
        history = pd.DataFrame(state["callbacks"]["Chronicle"]["rows"])

    row = history.iloc[best - 1]
    card = network.card(
        plan.model.backbone,
        cannabis_ml=cannabis_ml.__version__,
        weights=provenance,
        photo_set_fingerprint=data.photos.fingerprint,
        training_key=key,
        taught=data.teacher is not None,
        best_epoch=int(row["epoch"]),
        validation_loss=float(row["validation_loss"]),
    )
    arrays = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return Checkpoint(state=arrays, card=card), history


DECIDING = (
    "cannabis_ml.networks.attention",
    "cannabis_ml.networks.backbones",
    "cannabis_ml.networks.building",
    "cannabis_ml.networks.decoding",
    "cannabis_ml.networks.inplace_relu6",
    "cannabis_ml.networks.network",
    "cannabis_ml.networks.params",
    "cannabis_ml.networks.weights",
    "cannabis_ml.photos.resize",
    "cannabis_ml.photos.stored",
    "cannabis_ml.training.data",
    "cannabis_ml.training.distillation",
    "cannabis_ml.training.features",
    "cannabis_ml.training.losses",
    "cannabis_ml.training.mixing",
    "cannabis_ml.training.module",
    "cannabis_ml.training.phases",
    "cannabis_ml.training.recipe",
    "cannabis_ml.training.train",
    "cannabis_ml.training.training_data",
)
"""Modules whose code changes what a training gives. What watches, writes or scores is left out, so
that work on it throws no half-trained network away."""


def code_of(module: str) -> str:
    """What a module does: its syntax tree, without comments, docstrings and places."""
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


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def run_key(network: HierarchicalNet, data: TrainingData, plan: TrainingPlan) -> str:
    """Hash of everything that decides a training: only the very same one may be resumed.

    Covers the weights that the network starts from, the fingerprints of the data, taxonomy,
    parameters, the teacher's answers, and what the code of `DECIDING` does.
    """
    digest = hashlib.sha256()
    for name in DECIDING:
        digest.update(code_of(name).encode())
    parts = [
        torch.__version__,
        lightning.__version__,
        data.fingerprints,
        data.taxonomy.sha256,
        plan.model.model_dump(mode="json", exclude={"weights"}),
        plan.training.model_dump(mode="json", exclude=DECIDE_NOTHING),
        plan.recipe.model_dump(mode="json", exclude={"distillation": {"compare_without_teacher"}}),
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    digest.update(weights_hash(network).encode())
    for name, tensor in sorted(network.heads.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    for name, probs in data.teacher_probs().items():
        digest.update(name.encode() + probs.tobytes())
    return digest.hexdigest()


def _loader(
    network: HierarchicalNet, photos: Photos, plan: TrainingPlan, workspace: Path, *, shuffle: bool
) -> PhasedLoader:
    training, recipe = plan.training, plan.recipe
    options: dict[str, Any] = {
        "batch_size": plan.batch_size,
        "shuffle": shuffle,
        "seed": training.seed,
    }
    from_photos = make_loader(photos, workers=training.workers, **options)
    if not (training.cache_features and recipe.cached_epochs):
        return PhasedLoader(from_photos)
    features = cached_features(network, photos, training, workspace)
    from_features = make_loader(CachedFeatures(features, photos.known), workers=0, **options)
    return PhasedLoader(from_photos, from_features, recipe.cached_epochs)


def _run(
    module: PhotoModule, train: PhasedLoader, validation: PhasedLoader, folder: Path, log_as: str
) -> dict[str, Any]:
    """Train from the state in the folder if there is one, and give the last one back."""
    training = module.training_params
    if training.processes == 1:
        _loop(module, train, validation, folder, log_as)
    else:
        _run_together(module, train, validation, folder, log_as)
    found = _last_state(folder)
    if found is None:
        raise TrainingError(f"Training left no state in {folder}. Run again.")
    if training.processes > 1:
        for row in found["callbacks"]["Chronicle"]["rows"]:
            log_live(row, log_as)  # the processes that trained could not
    return found


def _run_together(*args: Any) -> None:
    """Start a process per device of this machine; they find each other and those elsewhere.

    Lightning's own launchers will not do: one runs the whole command again in every process, the
    other imports torchvision in them before `ready_torchvision` can help.
    """
    training = args[0].training_params
    where = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")}
    if training.nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
    elif missing := [name for name, value in where.items() if not value]:
        raise TrainingError(
            f"Training on {training.nodes} machines needs {', '.join(missing)} in the environment"
            " of the command on each: the address and a free port of the first machine, and this"
            " machine's number, counted from 0."
        )
    threads = max(1, torch.get_num_threads() // training.devices)
    sharing = torch.multiprocessing.get_sharing_strategy()
    # Handing tensors over by file descriptors fails where two share one.
    torch.multiprocessing.set_sharing_strategy("file_system")
    try:
        torch.multiprocessing.start_processes(
            _one_of_several,
            (where, threads, logger.getEffectiveLevel(), *args),
            nprocs=training.devices,
            start_method="spawn",
        )
    finally:
        torch.multiprocessing.set_sharing_strategy(sharing)


def _one_of_several(
    rank: int, where: dict[str, str], threads: int, level: int, module: PhotoModule, *args: Any
) -> None:
    """What a process of its own does."""
    os.environ |= {**where, "LOCAL_RANK": str(rank)}
    torch.set_num_threads(threads)
    if rank == 0:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("cannabis_ml").setLevel(level)
    with quiet():
        _loop(copy.deepcopy(module), *args)  # what was handed over is in memory that all share


def _loop(
    module: PhotoModule,
    train: PhasedLoader,
    validation: PhasedLoader,
    folder: Path,
    log_as: str,
) -> None:
    """Run Lightning's loop in this process."""
    training, recipe = module.training_params, module.recipe
    extras: list[lightning.Callback] = [
        Chronicle(recipe, log_as),
        Patience(recipe, training.patience),
        Keeper(folder, training.checkpoint_every),
    ]
    on_screen = sys.stderr.isatty()
    if on_screen:
        extras.append(callbacks.TQDMProgressBar(refresh_rate=1, leave=False))
    alone = training.processes == 1
    strategy = training.strategy
    if strategy == "auto" and not alone:
        strategy = "ddp_find_unused_parameters_true"  # which are used changes with the phase
    before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic  # a property that no annotation tells of
    fill_before = deterministic.fill_uninitialized_memory
    # Else every tensor of a step is written twice, first with NaN: a tenth of the time.
    deterministic.fill_uninitialized_memory = False
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=strategy,
        precision=training.precision,
        gradient_clip_val=training.gradient_clip,
        # CUDA lacks a deterministic backward pass for some poolings: warn instead of refusing.
        deterministic="warn" if torch.cuda.is_available() else True,
        sync_batchnorm=not alone and torch.cuda.is_available(),
        use_distributed_sampler=False,  # `Batches` shares them out
        callbacks=extras,
        logger=False,
        enable_progress_bar=on_screen,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    path = str(folder / STATE) if _last_state(folder) else None
    try:
        trainer.fit(module, train, validation, ckpt_path=path, weights_only=True)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_before)
        deterministic.fill_uninitialized_memory = fill_before
    if trainer.interrupted:
        raise TrainingError("Training was interrupted. Run again to go on from the last state.")


def _last_state(folder: Path) -> dict[str, Any] | None:
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


def _run_folder(runs: Path, key: str) -> Path:
    """The folder of one training; those of older ones go."""
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
        logger.info("Going on where the same training left off (%s).", folder)
    return folder


def _class_weights(
    targets: Mapping[str, np.ndarray], data: TrainingData, training: TrainingParams
) -> dict[str, torch.Tensor] | None:
    """Per multiclass head float32 (K,), which make up for what balancing leaves unequal.

    A row counts as its weight says. So classes that balancing weighs alike already get 1 here:
    they would be made up for twice otherwise.
    """
    if training.class_weights == "none":
        return None
    found = {}
    for head in data.taxonomy.heads:
        if head.kind != "multiclass":
            continue
        truth = targets[head.name]
        known = truth != MISSING
        each = None if data.weights is None else data.weights[known]
        counts = np.bincount(truth[known], weights=each, minlength=len(head.classes))
        there = counts > 0
        weights = counts.sum() / (max(1, there.sum()) * np.where(there, counts, 1))
        found[head.name] = torch.from_numpy(np.where(there, weights, 0).astype(np.float32))
    return found


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc", re.I
)
_TOLD = re.compile(r"cannabis_ml\.errors\.TrainingError: (.+)", re.S)


@contextmanager
def _explained(plan: TrainingPlan) -> Iterator[None]:
    """Turn a lack of memory, here or in a process that trains with us, into words."""
    size = plan.model.image_size
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = _TOLD.search(str(error))
        if told:
            raise TrainingError(told.group(1).strip()) from error
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise TrainingError(
                f"Memory ran out with {plan.batch_size} photos of {size} px per step. Lower"
                " batch_size, model.image_size or the last_blocks that learn, or use precision"
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
        # A process that trains with us tells its error as text.
        told = _TOLD.search(str(error))
        if told and not isinstance(error, TrainingError):
            raise TrainingError(told.group(1).strip()) from error
        raise
