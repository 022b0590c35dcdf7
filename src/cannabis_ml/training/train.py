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
from collections.abc import Iterator
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
from cannabis_ml.networks.checkpoint import Checkpoint  # noqa: E402
from cannabis_ml.networks.network import HierarchicalNet, build_network, restore  # noqa: E402
from cannabis_ml.networks.params import ModelParams  # noqa: E402
from cannabis_ml.photo_sets.photo_set import PhotoSet  # noqa: E402
from cannabis_ml.splits import Split  # noqa: E402
from cannabis_ml.taxonomy import MISSING, Taxonomy  # noqa: E402
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
from cannabis_ml.training.recipe import Recipe, TrainingParams  # noqa: E402

logger = logging.getLogger(__name__)

RUNS_KEPT = 3
"""Interrupted or finished runs whose state stays in a workspace, the newest ones."""

DECIDE_NOTHING = {"workers", "checkpoint_every"}
"""Fields of `TrainingParams` that change no result."""


def fit(  # noqa: PLR0913
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    recipe: Recipe | None = None,
    *,
    augmented_photos: PhotoSet | None = None,
    balanced_rows: pd.DataFrame | None = None,
    teacher: pd.DataFrame | None = None,
    workspace: Path | None = None,
    log_as: str = "",
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train on the training split, keep the epoch with the lowest validation loss.

    Starts from the recipe's own checkpoint, else from pretrained weights, else from random ones;
    and goes on where the very same training was interrupted. The same photos, parameters and
    machine give the same weights, whatever the number of workers and interruptions.

    Args:
        photo_set: Photos with labels and splits.
        taxonomy: Every label of the photo set is in it.
        model: The network.
        training: What all tiers share.
        recipe: What learns when.
        augmented_photos: Copies of training photos, shown in turn with the photos themselves
            where pixels are looked at; heads alone learn from features of the photos as they are.
        balanced_rows: `row` of every training photo that an epoch shows, and its `weight` in the
            loss; all, once, alike, where None.
        teacher: Predictions of a better network for the same photos, to learn from besides the
            labels: `photo_id` and per head a column of probabilities.
        workspace: Where features and states are kept; None: nowhere beyond this call.
        log_as: Stands before the names of the epochs' metrics in MLflow, so that the curves of
            several trainings in one run do not mix: `tier1` gives `tier1.train_loss`.

    Returns:
        The checkpoint of the best epoch, and the history: one row per epoch with epoch (from 1),
        phase, train_loss, validation_loss, `validation_{head}_loss`, `validation_{head}_accuracy`,
        learning_rate (of the backbone's top layer, at the end of the epoch) and seconds.

    Raises:
        TrainingError: If there is nothing to train or validate on, the loss becomes NaN, or disk
            or memory is full; the last good state stays in the workspace.
        WeightsError: If no configured source has weights for the backbone.
    """
    recipe = recipe or Recipe()
    batch_size = recipe.batch_size or training.batch_size
    if batch_size % training.processes:
        raise TrainingError(
            f"A batch of {batch_size} photos cannot be shared evenly by {training.processes}"
            " processes: make batch_size a multiple of devices × nodes."
        )
    table = photo_set.labels()
    rows = {name: photo_set.rows_of(name) for name in (Split.TRAIN, Split.VALIDATION)}
    _check_trainable(table, rows, taxonomy)
    row_weights = None
    if balanced_rows is not None:
        _check_rows(balanced_rows, table)
        rows[Split.TRAIN] = balanced_rows["row"].to_numpy()
        row_weights = balanced_rows["weight"].to_numpy()
    teacher = _usable(teacher, table.iloc[rows[Split.TRAIN]], taxonomy, recipe)

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(quiet())
        if workspace is None:
            workspace = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        torch.manual_seed(training.seed)
        network, provenance = _start(model, taxonomy, recipe)
        if provenance["source"] == "random":
            # Layers that know nothing yet have to learn.
            phases = [phase.model_copy(update={"train": "all"}) for phase in recipe.phases]
            recipe = recipe.model_copy(update={"phases": phases})
        fingerprint = photo_set.fingerprint
        key = run_key(
            network,
            [fingerprint, *_shown(augmented_photos, balanced_rows)],
            taxonomy,
            model,
            training,
            recipe,
            teacher,
        )
        folder = _run_folder(workspace / "runs", key)

        photos = {
            name: Photos(
                photo_set,
                rows[name],
                taxonomy,
                model.image_size,
                training,
                teacher=teacher if name == Split.TRAIN else None,
                members=network.ensemble if name == Split.TRAIN else 1,
                copies=augmented_photos if name == Split.TRAIN else None,
                weights=row_weights if name == Split.TRAIN else None,
            )
            for name in rows
        }
        weights = _class_weights(photos[Split.TRAIN], taxonomy, training, row_weights)
        explained = _explained(model, batch_size)
        with explained:
            loaders = {
                name: _loader(network, photos[name], name, fingerprint, training, recipe, workspace)
                for name in rows
            }
            logger.info(
                "Training %s at %d px on %d photos, validating on %d; at most %d epochs of %d"
                " steps: %s.",
                " + ".join(model.backbones),
                model.image_size,
                len(rows[Split.TRAIN]),
                len(rows[Split.VALIDATION]),
                recipe.epochs,
                len(loaders[Split.TRAIN]),
                ", ".join(f"{phase.name} {phase.epochs}" for phase in recipe.phases),
            )
            module = PhotoModule(network, training, recipe, weights)
            state = _run(module, loaders[Split.TRAIN], loaders[Split.VALIDATION], folder, log_as)
        best = state["callbacks"]["Keeper"]["best_epoch"]
        network.load_state_dict(torch.load(best_file(folder, best), weights_only=True))
        history = pd.DataFrame(state["callbacks"]["Chronicle"]["rows"])

    row = history.iloc[best - 1]
    card = network.card(
        model.backbone,
        cannabis_ml=cannabis_ml.__version__,
        weights=provenance,
        photo_set_fingerprint=fingerprint,
        training_key=key,
        taught=teacher is not None,
        best_epoch=int(row["epoch"]),
        validation_loss=float(row["validation_loss"]),
    )
    arrays = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return Checkpoint(state=arrays, card=card), history


DECIDING = (
    "cannabis_ml.networks.attention",
    "cannabis_ml.networks.backbones",
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


def run_key(
    network: HierarchicalNet,
    data: list[str],
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    recipe: Recipe,
    teacher: pd.DataFrame | None,
) -> str:
    """Hash of everything that decides a training: only the very same one may be resumed.

    Covers the weights it starts from, the fingerprints of the data, taxonomy, parameters, the
    teacher's answers, and what the code of `DECIDING` does.
    """
    digest = hashlib.sha256()
    for name in DECIDING:
        digest.update(code_of(name).encode())
    parts = [
        torch.__version__,
        lightning.__version__,
        data,
        taxonomy.sha256,
        model.model_dump(mode="json", exclude={"weights"}),
        training.model_dump(mode="json", exclude=DECIDE_NOTHING),
        recipe.model_dump(
            mode="json",
            exclude={"start": True, "distillation": {"compare_without_teacher"}},
        ),
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    digest.update(weights_hash(network).encode())
    for name, tensor in sorted(network.heads.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    if teacher is not None:
        for name in teacher.columns:
            values = teacher[name].to_list()
            if name == "photo_id":
                digest.update("".join(values).encode())
            else:
                digest.update(np.stack(values).astype(np.float32).tobytes())
    return digest.hexdigest()


def _shown(copies: PhotoSet | None, balanced_rows: pd.DataFrame | None) -> list[str]:
    """Fingerprints of what an epoch shows of the photo set."""
    told = []
    if copies is not None:
        told.append(copies.fingerprint)
    if balanced_rows is not None:
        chosen = balanced_rows[["row", "weight"]].to_numpy(np.float64)
        told.append(hashlib.sha256(np.ascontiguousarray(chosen).tobytes()).hexdigest())
    return told


def _check_rows(balanced_rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse rows that were chosen from another photo set: they may point at test photos."""
    rows = balanced_rows["row"].to_numpy()
    known = rows[(rows >= 0) & (rows < len(table))]
    strays = len(rows) - int((table["split"].to_numpy()[known] == Split.TRAIN).sum())
    if strays:
        raise TrainingError(
            f"{strays:,} of {len(rows):,} rows of balanced_rows are no training photos of the photo"
            " set: it has changed since. Run the balancing pipeline again, or all of"
            " `kedro run --pipelines train`."
        )


def _start(
    model: ModelParams, taxonomy: Taxonomy, recipe: Recipe
) -> tuple[HierarchicalNet, dict[str, Any]]:
    """The network to begin with: from our own checkpoint if one is given, else as configured."""
    if recipe.start is None:
        return build_network(model, taxonomy)
    if not recipe.start.is_file():
        raise TrainingError(
            f"There is no checkpoint {recipe.start} to start from (looked in {Path.cwd()})."
            " Mend recipe.start, or set it to null to start from pretrained weights."
        )
    start = Checkpoint.read(recipe.start)
    old = restore(start)
    if start.card.backbone != model.backbone:
        raise TrainingError(
            f"{recipe.start} holds '{start.card.backbone}', the model to train is"
            f" '{model.backbone}'. Set recipe.start or model.backbone to match."
        )
    try:
        network = _take_over(old, model, taxonomy)
    except RuntimeError as error:
        raise TrainingError(
            f"{recipe.start} was trained at {old.image_size} px; this backbone has positions of its"
            f" own for {model.image_size} px. Train at the same size."
        ) from error
    with recipe.start.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return network, {
        "source": "checkpoint",
        "file": recipe.start.name,
        "sha256": sha256,
        "licence": (start.card.weights or {}).get("licence"),
    }


def _take_over(old: HierarchicalNet, model: ModelParams, taxonomy: Taxonomy) -> HierarchicalNet:
    """Backbone, attention and every head that asks the same question in the same form."""
    from cannabis_ml.networks.backbones import create_backbone

    card = old.card(model.backbone)
    network = HierarchicalNet(
        create_backbone(model.backbone, model.image_size),
        taxonomy,
        dropout=model.dropout,
        image_size=model.image_size,
        mean=card.mean,
        std=card.std,
        ensemble=model.ensemble,
        attention=model.attention,
        hidden=model.hidden,
    )
    network.backbone.load_state_dict(old.backbone.state_dict())
    if len(network.attention) == len(old.attention):
        network.attention.load_state_dict(old.attention.state_dict())
    fresh = []
    theirs = {
        head.name: (head, part) for head, part in zip(old.taxonomy.heads, old.heads, strict=True)
    }
    for head, part in zip(taxonomy.heads, network.heads, strict=True):
        known, before = theirs.get(head.name, (None, None))
        state = before.state_dict() if before is not None else {}
        own = part.state_dict()
        same = known is not None and known.class_names == head.class_names
        if same and {k: t.shape for k, t in state.items()} == {k: t.shape for k, t in own.items()}:
            part.load_state_dict(state)
        else:
            fresh.append(head.name)
    if fresh:
        logger.info("The checkpoint to start from has no such head: %s start fresh.", fresh)
    return network


def _loader(
    network: HierarchicalNet,
    photos: Photos,
    split: Split,
    fingerprint: str,
    training: TrainingParams,
    recipe: Recipe,
    workspace: Path,
) -> PhasedLoader:
    options: dict[str, Any] = {
        "batch_size": recipe.batch_size or training.batch_size,
        "shuffle": split == Split.TRAIN,
        "seed": training.seed,
    }
    from_photos = make_loader(photos, workers=training.workers, **options)
    if not (training.cache_features and recipe.cached_epochs):
        return PhasedLoader(from_photos)
    features = cached_features(network, photos, fingerprint, training, workspace)
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


def _usable(
    teacher: pd.DataFrame | None, table: pd.DataFrame, taxonomy: Taxonomy, recipe: Recipe
) -> pd.DataFrame | None:
    """The teacher's probabilities for the training photos, in order; None if it has no say."""
    if teacher is None or recipe.distillation.weight == 0:
        return None
    unseen = ~table["photo_id"].isin(teacher["photo_id"])
    if unseen.any():
        raise TrainingError(
            f"The teacher has no answer for {unseen.sum():,} of {len(table):,} training photos:"
            " its predictions are of another photo set. Train and predict with the teacher first."
        )
    at = teacher.drop_duplicates("photo_id").set_index("photo_id").loc[table["photo_id"]]
    return at[[head.name for head in taxonomy.heads]].reset_index()


def _class_weights(
    photos: Photos,
    taxonomy: Taxonomy,
    training: TrainingParams,
    row_weights: np.ndarray | None = None,
) -> dict[str, torch.Tensor] | None:
    """Per multiclass head float32 (K,), which make up for what balancing leaves unequal.

    A row counts as its weight says. So classes that balancing weighs alike already get 1 here:
    they would be made up for twice otherwise.
    """
    if training.class_weights == "none":
        return None
    found = {}
    for head in taxonomy.heads:
        if head.kind != "multiclass":
            continue
        truth = photos.known.targets[head.name]
        known = truth != MISSING
        each = None if row_weights is None else row_weights[known]
        counts = np.bincount(truth[known], weights=each, minlength=len(head.classes))
        there = counts > 0
        weights = counts.sum() / (max(1, there.sum()) * np.where(there, counts, 1))
        found[head.name] = torch.from_numpy(np.where(there, weights, 0).astype(np.float32))
    return found


def _check_trainable(
    table: pd.DataFrame, rows: dict[Split, np.ndarray], taxonomy: Taxonomy
) -> None:
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


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc", re.I
)
_TOLD = re.compile(r"cannabis_ml\.errors\.TrainingError: (.+)", re.S)


@contextmanager
def _explained(model: ModelParams, batch_size: int) -> Iterator[None]:
    """Turn a lack of memory, here or in a process that trains with us, into words."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = _TOLD.search(str(error))
        if told:
            raise TrainingError(told.group(1).strip()) from error
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise TrainingError(
                f"Memory ran out with {batch_size} photos of {model.image_size} px per step. Lower"
                " batch_size, model.image_size or the last_blocks that learn, or use precision"
                " bf16-mixed on a GPU. The last good state is kept: what does not change the"
                " training (workers) lets it go on from there."
            ) from error
        raise
    except Exception as error:
        if "more than 1 value per channel" in str(error):
            raise TrainingError(
                "BatchNorm cannot learn: a step had a single photo for a process, and at"
                f" {model.image_size} px this backbone's map is a single place. Bring more photos,"
                " raise model.image_size, or train the heads alone."
            ) from error
        # A process that trains with us tells its error as text.
        told = _TOLD.search(str(error))
        if told and not isinstance(error, TrainingError):
            raise TrainingError(told.group(1).strip()) from error
        raise
