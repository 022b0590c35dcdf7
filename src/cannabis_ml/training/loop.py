"""Lightning's loop, in this process or in several."""

from __future__ import annotations

import copy
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch

from cannabis_ml._io.allocator import keeping_memory
from cannabis_ml.errors import TrainingError
from cannabis_ml.training.callbacks import (
    STATE,
    Checkpointing,
    EarlyStopping,
    History,
    log_live,
)
from cannabis_ml.training.data import PhasedLoader
from cannabis_ml.training.machines import joining, machine_of
from cannabis_ml.training.module import PhotoModule
from cannabis_ml.training.quiet import quiet
from cannabis_ml.training.ready_lightning import lightning
from cannabis_ml.training.resume import last_state

logger = logging.getLogger(__name__)


def run(
    module: PhotoModule, train: PhasedLoader, validation: PhasedLoader, folder: Path, log_as: str
) -> dict[str, Any]:
    """Train, from the state in the folder if there is one, and return the last state."""
    training = module.training_params
    if training.nodes == 1:
        _warn_of_other_machines()
    if training.processes == 1:
        _loop(module, train, validation, folder, log_as)
    else:
        _run_together(module, train, validation, folder, log_as)
    state = last_state(folder)
    if state is None:
        raise TrainingError(f"Training left no state in {folder}. Run again.")
    if training.processes > 1:
        for row in state["callbacks"]["History"]["rows"]:
            log_live(row, log_as)  # the processes that trained could not
    return state


def _warn_of_other_machines() -> None:
    machine = machine_of(os.environ)
    if machine is not None and machine.machines not in (None, 1):
        logger.warning(
            "%s has %d machines, and training.nodes is 1: each of them trains by itself. Set"
            " training.nodes=%d to let them train together.",
            *(machine.named_by, machine.machines, machine.machines),
        )


def _run_together(*args: Any) -> None:
    """Start a process per device of this machine; they connect with those of other machines.

    Lightning's own launchers will not do: one runs the whole command again in every process, the
    other imports torchvision in them before `ready_torchvision` can help.
    """
    training = args[0].training_params
    if training.nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
    else:
        where = joining(training.nodes, os.environ)
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
    """Train in one of several processes."""
    os.environ |= {**where, "LOCAL_RANK": str(rank)}
    torch.set_num_threads(threads)
    if rank == 0:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("cannabis_ml").setLevel(level)
    with quiet(), keeping_memory():
        _loop(copy.deepcopy(module), *args)  # the argument is in shared memory


def _loop(
    module: PhotoModule,
    train: PhasedLoader,
    validation: PhasedLoader,
    folder: Path,
    log_as: str,
) -> None:
    """Train in this process."""
    training, schedule = module.training_params, module.schedule
    extras: list[lightning.Callback] = [
        History(schedule, log_as),
        EarlyStopping(schedule, training.patience),
        Checkpointing(folder, training.checkpoint_every),
    ]
    on_screen = sys.stderr.isatty()
    if on_screen:
        extras.append(lightning.pytorch.callbacks.TQDMProgressBar(refresh_rate=1, leave=False))
    alone = training.processes == 1
    strategy = training.strategy
    if strategy == "auto" and not alone:
        strategy = "ddp_find_unused_parameters_true"  # which are used changes with the phase
    before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic  # without annotations
    fill_before = deterministic.fill_uninitialized_memory
    # Else every new tensor is first filled with NaN: a tenth of the time.
    deterministic.fill_uninitialized_memory = False
    trainer = lightning.Trainer(
        max_epochs=schedule.epochs,
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
        # Else Lightning takes Slurm's and torchrun's processes for those that it starts.
        plugins=[lightning.fabric.plugins.environments.lightning.LightningEnvironment()],
        callbacks=extras,
        logger=False,
        enable_progress_bar=on_screen,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    path = str(folder / STATE) if last_state(folder) else None
    try:
        trainer.fit(module, train, validation, ckpt_path=path, weights_only=True)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_before)
        deterministic.fill_uninitialized_memory = fill_before
    if trainer.interrupted:
        raise TrainingError("Training was interrupted. Run again to go on from the last state.")
