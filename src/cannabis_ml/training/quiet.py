"""Filters for Lightning's log messages and warnings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
    "Initializing distributed",
    "-----",
    "distributed_backend",
    "All distributed processes registered",
)
_CHATTER_WARNINGS = (
    r".*does not have many workers.*",
    r".*number of training batches .* is smaller than the logging interval.*",
    r".*GPU available but not used.*",
    r"Found \d+ module\(s\) in eval mode at the start of training.*",  # the EMA
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*find_unused_parameters=True was specified.*",  # phases make that differ
)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's messages about devices and tips; all others pass."""
    sources = [
        logging.getLogger(name)
        for name in (
            "lightning.pytorch.utilities.rank_zero",
            "lightning.pytorch.accelerators.cuda",
            "lightning.fabric.utilities.distributed",
            "lightning.fabric.utilities.rank_zero",
            # Lightning's older name: where others import it, it logs for both.
            "pytorch_lightning.utilities.rank_zero",
            "lightning_fabric.utilities.rank_zero",
        )
    ]

    def is_kept(record: logging.LogRecord) -> bool:
        return not record.getMessage().lstrip().startswith(_CHATTER)

    with warnings.catch_warnings():
        for pattern in _CHATTER_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        for source in sources:
            source.addFilter(is_kept)
        try:
            yield
        finally:
            for source in sources:
                source.removeFilter(is_kept)
