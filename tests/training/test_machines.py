"""Every launcher's variables name the same thing: the first machine, a port there, a number."""

import json

import pytest

from cannabis_ml.errors import TrainingError
from cannabis_ml.training.machines import PORT, first_host, joining, machine_of

VERTEX = {
    "cluster": {
        "workerpool0": ["cmle-training-workerpool0-ab-0:2222"],
        "workerpool1": [f"cmle-training-workerpool1-ab-{n}:2222" for n in range(3)],
        "workerpool2": ["cmle-training-workerpool2-ab-0:2222"],
    },
    "environment": "cloud",
    "task": {"type": "workerpool1", "index": 1},
}

SLURM = {
    "SLURM_JOB_ID": "412345",
    "SLURM_JOB_NODELIST": "gpu[07-09,12],cpu1",
    "SLURM_NNODES": "5",
    "SLURM_NODEID": "2",
}

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "4567",
    "GROUP_RANK": "1",
    "RANK": "1",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "1",
}

RAY_TRAIN = {
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "4567",
    "NODE_RANK": "1",
    "RANK": "1",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "3",
    "LOCAL_WORLD_SIZE": "1",
}

LAUNCHERS = {
    "by hand": (
        {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "2"},
        ("a", 1, 2, None),
    ),
    "torchrun": (TORCHRUN, ("10.0.0.1", 4567, 1, 2)),
    "Ray Train": (RAY_TRAIN, ("10.0.0.1", 4568, 1, 3)),
    "SageMaker": (
        {"SM_HOSTS": '["algo-1", "algo-2", "algo-3"]', "SM_CURRENT_HOST": "algo-3"},
        ("algo-1", PORT, 2, 3),
    ),
    "Vertex AI": (
        {"CLUSTER_SPEC": json.dumps(VERTEX)},
        ("cmle-training-workerpool0-ab-0", 2222, 2, 4),
    ),
    "Kubeflow": (
        {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "RANK": "3", "WORLD_SIZE": "4"},
        ("job-master-0", 23456, 3, 4),
    ),
    "SkyPilot": (
        {"SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.9", "SKYPILOT_NODE_RANK": "1"},
        ("10.0.0.4", PORT, 1, 2),
    ),
    "Slurm": (SLURM, ("gpu07", 17345, 2, 5)),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_variables_name_the_first_machine_and_this_ones_number(launcher):
    variables, expected = LAUNCHERS[launcher]
    assert machine_of(variables)[:4] == expected


def test_nothing_is_read_from_an_ordinary_environment():
    assert machine_of({"PATH": "/bin", "SLURM_JOB_ID": "1", "RANK": "0"}) is None


def test_what_is_set_by_hand_comes_first():
    by_hand = {"MASTER_ADDR": "mine", "MASTER_PORT": "9", "NODE_RANK": "0"}
    assert joining(2, {**SLURM, **by_hand}) == by_hand


def test_processes_get_the_three_variables():
    assert joining(5, SLURM) == {
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "17345",
        "NODE_RANK": "2",
    }


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node3", "node3"),
        ("a,b", "a"),
        ("gpu[07-09,12],cpu1", "gpu07"),
        ("rack[2-3]node[11-14]", "rack2node11"),
        ("n[5]-ib,n6", "n5-ib"),
    ],
)
def test_first_host_of_a_compressed_list(nodes, first):
    assert first_host(nodes) == first


def test_missing_variables_are_named():
    with pytest.raises(TrainingError, match="needs MASTER_PORT, NODE_RANK in the environment"):
        joining(2, {"MASTER_ADDR": "10.0.0.1"})


def test_another_number_of_machines_than_configured_is_refused():
    with pytest.raises(TrainingError, match=r"training\.nodes is 2, and Slurm has 5 machines"):
        joining(2, SLURM)
    with pytest.raises(TrainingError, match=r"number 2, counted from 0, of 2"):
        joining(2, LAUNCHERS["by hand"][0])


@pytest.mark.parametrize(
    "variables",
    [
        {**TORCHRUN, "LOCAL_WORLD_SIZE": "4"},
        {**RAY_TRAIN, "LOCAL_WORLD_SIZE": "4"},
        {**SLURM, "SLURM_STEP_NUM_TASKS": "20"},
    ],
    ids=["torchrun", "Ray Train", "Slurm"],
)
def test_several_processes_per_machine_are_refused(variables):
    with pytest.raises(TrainingError, match=r"Start one.*training\.devices"):
        machine_of(variables)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SM_HOSTS": "algo-1", "SM_CURRENT_HOST": "algo-1"}, "SM_HOSTS .* is not JSON"),
        ({"SM_HOSTS": '["a"]', "SM_CURRENT_HOST": "b"}, "'b', and not in SM_HOSTS"),
        ({"CLUSTER_SPEC": '{"cluster": {}}'}, "CLUSTER_SPEC does not describe"),
        ({**SLURM, "SLURM_NODEID": "x"}, "SLURM_NODEID is 'x' in the environment, not"),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables, message):
    with pytest.raises(TrainingError, match=message):
        machine_of(variables)
