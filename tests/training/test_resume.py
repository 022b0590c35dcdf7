"""Training that is killed and started again ends as if nothing had happened."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.training import callbacks, resume, train
from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

SCRIPT = Path(__file__).with_name("loop.py")
STEPS = 15  # 5 epochs of 3

SCHEDULE = Schedule.model_validate(
    {
        "phases": [
            {"name": "heads", "epochs": 1, "learning_rate": 3e-3, "train": "heads"},
            {"name": "all", "epochs": 2, "learning_rate": 1e-3, "train": "all"},
        ]
    }
)


@pytest.fixture(scope="module")
def start(training_processes, backbone_file):
    """Train in a process of its own: `start(workspace, result, DIE_AT="3")`."""

    def start(workspace, result, **environment):
        return training_processes.run(
            [SCRIPT, backbone_file, workspace, result],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    return start


def weights(result):
    return CheckpointDataset(filepath=str(result)).load().state


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = start(folder / "work", folder / "end.safetensors")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "end.safetensors"


def same_end(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)
    assert Path(f"{one}.csv").read_text() == Path(f"{other}.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("every", ["1", "2"])
def test_killed_at_random_steps_it_ends_with_the_same_weights(undisturbed, start, tmp_path, every):
    deaths = sorted(random.Random(int(every)).sample(range(1, STEPS), 3))
    result = tmp_path / "end.safetensors"
    for step in deaths:
        done = start(tmp_path / "work", result, DIE_AT=str(step), EVERY=every)
        assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
        assert not result.exists()
    done = start(tmp_path / "work", result, EVERY=every)
    assert done.returncode == 0, done.stderr[-3000:]
    same_end(result, undisturbed)


@pytest.mark.slow
def test_workers_change_nothing_after_a_kill_either(undisturbed, start, tmp_path):
    result = tmp_path / "end.safetensors"
    work = tmp_path / "work"
    assert start(work, result, DIE_AT="8", WORKERS="2").returncode == -signal.SIGKILL
    assert start(work, result, WORKERS="1").returncode == 0
    same_end(result, undisturbed)


@pytest.mark.slow
def test_another_machine_goes_on_from_a_state_in_a_bucket(undisturbed, start, tmp_path, s3):
    """Each process has a copy of its own, which ends with it."""
    result, work = tmp_path / "end.safetensors", "s3://hemp/workspace"
    done = start(work, result, DIE_AT="8", EVERY="1", **s3.environment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    s3.requests.clear()
    done = start(work, result, EVERY="1", **s3.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "could not be uploaded" not in done.stderr
    brought = [request for request in s3.requests if request.startswith("GET /hemp/workspace/")]
    assert any(callbacks.STATE in request for request in brought)
    same_end(result, undisturbed)


@pytest.fixture
def fit(photo_set, taxonomy, backbone_file):
    model = ModelParams(
        backbone="test_efficientnet", image_size=32, weights=[{"file": str(backbone_file)}]
    )

    def fit(workspace, schedule=SCHEDULE, photo_set=photo_set, **training):
        params = TrainingParams(batch_size=8, checkpoint_every=1, **training)
        return train.fit(
            TrainingData.of_split(photo_set, taxonomy),
            TrainingPlan(model, params, schedule),
            workspace,
        )

    return fit


@pytest.fixture
def die(monkeypatch):
    """Raise an error instead of keeping a state, after so many; `die(None)` stops that.

    Gives a list that holds how many states were kept since.
    """
    write = callbacks._write

    def die(number):
        kept = [0]

        def dying(state, path):
            if number is not None and kept[0] >= number:
                raise KeyError("power cut")
            kept[0] += 1
            write(state, path)

        monkeypatch.setattr(callbacks, "_write", dying)
        return kept

    return die


@pytest.mark.parametrize("tenths", range(1, 11))
def test_interrupted_anywhere_it_ends_with_the_same_weights(fit, die, tmp_path, tenths):
    kept = die(None)
    whole, history = fit(tmp_path / "one")
    die(round(1 + tenths / 10 * (kept[0] - 2)))
    with pytest.raises(KeyError, match="power cut"):
        fit(tmp_path / "two")
    die(None)
    again, told = fit(tmp_path / "two")
    for name, array in whole.state.items():
        np.testing.assert_array_equal(array, again.state[name], err_msg=name)
    assert history.drop(columns="seconds").equals(told.drop(columns="seconds"))


def test_stop_for_lack_of_improvement_outlives_an_interruption(fit, tmp_path, monkeypatch):
    still = {"ema_decay": 0.0, "patience": 1, "gradient_clip": 1e-30, "head_multiplier": 1e-30}
    schedule = SCHEDULE.model_copy(
        update={"phases": [SCHEDULE.phases[1].model_copy(update={"epochs": 9, "train": "heads"})]}
    )
    _, history = fit(tmp_path, schedule, **still)
    _, again = fit(tmp_path, schedule, **still)
    assert len(history) == len(again) < 9


def test_finished_training_is_not_done_again(fit, tmp_path, monkeypatch):
    first, _ = fit(tmp_path)
    monkeypatch.setattr("cannabis_ml.training.module.PhotoModule._loss", None)
    second, _ = fit(tmp_path)
    for name, array in first.state.items():
        np.testing.assert_array_equal(array, second.state[name], err_msg=name)


def test_other_weights_to_start_from_are_another_training(photo_set, taxonomy, backbone_file):
    model = ModelParams(
        backbone="test_efficientnet", image_size=32, weights=[{"file": str(backbone_file)}]
    )
    data = TrainingData.of_split(photo_set, taxonomy)

    def started_from(start):
        plan = TrainingPlan(model, TrainingParams(), SCHEDULE, start)
        torch.manual_seed(0)
        return train.build_network(model, taxonomy, start)[0], plan

    network, plan = started_from(None)
    state = {name: tensor.numpy() + 1 for name, tensor in network.state_dict().items()}
    start = Checkpoint(state=state, card=network.card(model.backbone))
    key = resume.run_key(network, data, plan)
    assert resume.run_key(*(started_from(start)[0], data, plan)) != key
    assert resume.run_key(started_from(None)[0], data, plan) == key


def test_other_training_starts_from_the_beginning(fit, tmp_path):
    first, _ = fit(tmp_path)
    other, _ = fit(tmp_path, seed=1)
    assert first.card.training_key != other.card.training_key
    assert len(list((tmp_path / "runs").iterdir())) == 2
    for seed in range(2, 6):
        fit(tmp_path, SCHEDULE.model_copy(update={"phases": SCHEDULE.phases[:1]}), seed=seed)
    assert len(list((tmp_path / "runs").iterdir())) == resume.RUNS_KEPT


def test_full_disk_is_reported_and_the_last_state_stays(fit, tmp_path, monkeypatch):
    save = torch.save
    left = [5]

    def fills_up(state, file):
        left[0] -= 1
        if left[0] < 0:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(callbacks.torch, "save", fills_up)
    with pytest.raises(TrainingError, match=r"disk of .* is full"):
        fit(tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    assert not list(run.glob(".*.part"))
    torch.load(run / callbacks.STATE, weights_only=True)
    monkeypatch.undo()
    fit(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_lack_of_memory_is_reported_with_what_to_lower(fit, tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("cannabis_ml.training.module.PhotoModule._loss", fails)
    with pytest.raises(TrainingError, match="8 photos of 32 px per step"):
        fit(tmp_path)


def test_damaged_state_is_left_and_training_begins_again(fit, tmp_path, caplog):
    whole, _ = fit(tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    path = run / callbacks.STATE
    path.write_bytes(path.read_bytes()[:1000])
    again, _ = fit(tmp_path)
    assert "is damaged" in caplog.text
    for name, array in whole.state.items():
        np.testing.assert_array_equal(array, again.state[name], err_msg=name)


def test_states_hold_nothing_that_could_run(fit, tmp_path):
    fit(tmp_path)
    for path in (tmp_path / "runs").rglob("*.ckpt"):
        torch.load(path, weights_only=True)
