"""Two processes that share every batch learn what one learns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.errors import TrainingError

SCRIPT = """
import importlib.util, json, os, sys
from pathlib import Path

import torch
torch.set_num_threads(1)

def main():
    spec = importlib.util.spec_from_file_location("loop", sys.argv[1])
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    from cannabis_ml.datasets.checkpoint import CheckpointDataset
    from cannabis_ml.training import train
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
    from cannabis_ml.training.training_data import TrainingData

    given = json.loads(sys.argv[2])
    model = ModelParams(**given["model"])
    training = TrainingParams(**given["training"])
    schedule = Schedule.model_validate(given["schedule"])
    data = TrainingData.of_split(loop.draw_photo_set(), loop.TAXONOMY)
    plan = TrainingPlan(model, training, schedule)
    checkpoint, history = train.fit(data, plan, Path(given["workspace"]))
    CheckpointDataset(filepath=given["result"]).save(checkpoint)
    history.to_csv(given["result"] + ".csv", index=False)

if __name__ == "__main__":
    main()
"""

SCHEDULE = {
    "phases": [
        {"name": "heads", "epochs": 1, "learning_rate": 2e-3, "train": "heads"},
        {"name": "top", "epochs": 1, "learning_rate": 2e-3, "train": {"last_blocks": 2}},
        {"name": "all", "epochs": 1, "learning_rate": 1e-3, "train": "all"},
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the trainings of this file write, each under its name."""
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def start(folder, transformer_file, training_processes):
    """Start training in a process of its own: `start(name, environment, **training)`."""
    import json
    import os

    script = folder / "script.py"
    script.write_text(SCRIPT)

    def start(name, environment=None, **training):
        given = {
            # No BatchNorm: each process would see the statistics of its own share.
            "model": {
                "backbone": "test_vit",
                "image_size": 160,
                "weights": [{"file": str(transformer_file)}],
                "dropout": 0.0,
                "ensemble": 2,
            },
            "training": {"batch_size": 8, "accelerator": "cpu", **training},
            "schedule": SCHEDULE,
            "workspace": str(folder / name),
            "result": str(folder / f"{name}.safetensors"),
        }
        loop = Path(__file__).with_name("loop.py")
        return training_processes.start(
            [script, loop, json.dumps(given)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )

    return start


@pytest.fixture(scope="module")
def transformer_file(tmp_path_factory):
    import torch

    from cannabis_ml.networks.backbones import create_backbone

    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.manual_seed(5)
    torch.save(create_backbone("test_vit", 160).state_dict(), path)
    return path


def finished(*processes):
    for process in processes:
        done = process.wait()
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def alone(start):
    """The training that others are compared with, by one process."""
    finished(start("alone"))
    return "alone"


def assert_same(folder, one, other):
    first, second = (pd.read_csv(folder / f"{n}.safetensors.csv") for n in (one, other))
    columns = [c for c in first.columns if c not in ("phase", "seconds")]
    np.testing.assert_allclose(first[columns], second[columns], rtol=2e-4, atol=2e-5)
    a, b = (
        CheckpointDataset(filepath=str(folder / f"{n}.safetensors")).load().state
        for n in (one, other)
    )
    for name, array in a.items():
        np.testing.assert_allclose(array, b[name], rtol=1e-2, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one_with_the_same_batch(start, alone, folder):
    """Labels are missing unevenly, layers freeze and thaw: the loss is that of the whole batch."""
    finished(start("together", devices=2))
    assert_same(folder, alone, "together")


@pytest.mark.slow
def test_two_machines_reach_the_loss_of_one(start, alone, folder):
    """Each machine is started by the same command, and ends with all results.

    As Vertex AI says which machine it is, on machines that Slurm manages: Lightning would take its
    variables for its own.
    """
    import json
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pools = {"workerpool0": [f"127.0.0.1:{port}"], "workerpool1": ["127.0.0.2:1"]}
    machines = [
        start(
            f"machine{rank}",
            {
                "CLUSTER_SPEC": json.dumps({"cluster": pools, "task": {"type": pool, "index": 0}}),
                "SLURM_NTASKS": "4",
                "SLURM_JOB_NAME": "batch",
                "SLURM_PROCID": "3",
                "SLURM_LOCALID": "3",
            },
            nodes=2,
        )
        for rank, pool in enumerate(pools)
    ]
    finished(*machines)
    assert_same(folder, alone, "machine0")
    assert_same(folder, "machine0", "machine1")


def test_error_of_another_process_is_reported_unchanged():
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.training.schedule import TrainingParams, TrainingPlan
    from cannabis_ml.training.train import _explained

    told = (
        "-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n"
        '  File "x.py", line 1\ncannabis_ml.errors.TrainingError: The loss became nan. Lower it.\n'
    )
    with (
        pytest.raises(TrainingError, match=r"^The loss became nan\. Lower it\.$"),
        _explained(TrainingPlan(ModelParams(), TrainingParams(batch_size=8))),
    ):
        raise RuntimeError(told)
