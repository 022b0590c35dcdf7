"""Which of several machines this is, as schedulers and launchers say it in the environment.

Each has variables of its own; training needs an address that all machines reach, a port there, and
this machine's number. One process per machine reads them: it starts one per device itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cannabis_ml.errors import TrainingError

PORT = 29500
"""Where a scheduler names no port: PyTorch's own default."""

SLURM_PORTS = range(15000, 25000)
"""Jobs that share a first machine must not share a port: it is taken from the job's number."""

VERTEX_POOLS = ("workerpool0", "workerpool1")
"""Pools of Vertex AI that train; the others reduce and evaluate."""


class Machine(NamedTuple):
    """One of several machines that train together.

    Attributes:
        address: Of the first machine.
        port: There.
        rank: This machine's number, from 0.
        machines: How many there are; None where nothing says it.
        named_by: Who says so.
    """

    address: str
    port: int
    rank: int
    machines: int | None
    named_by: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which processes of this machine find the others."""
        return {
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "NODE_RANK": str(self.rank),
        }


def machine_of(environment: Mapping[str, str]) -> Machine | None:
    """Read which machine this is; None where nothing says that there are several.

    Understood are, in this order: variables set by hand (MASTER_ADDR, MASTER_PORT, NODE_RANK),
    those of torchrun, Ray Train, SageMaker, Vertex AI, Kubeflow (MASTER_ADDR and RANK), SkyPilot
    and Slurm.

    Args:
        environment: Such as `os.environ`.

    Raises:
        TrainingError: If variables contradict each other, or several processes per machine were
            started.
    """
    for read in _READERS:
        machine = read(environment)
        if machine is not None:
            return machine
    return None


def joining(nodes: int, environment: Mapping[str, str]) -> dict[str, str]:
    """MASTER_ADDR, MASTER_PORT and NODE_RANK of this machine.

    Args:
        nodes: How many machines the configuration speaks of, above 1.
        environment: Such as `os.environ`.

    Raises:
        TrainingError: If the environment does not say which machine this is, or has another number
            of machines.
    """
    machine = machine_of(environment)
    if machine is None:
        needed = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
        missing = [name for name in needed if not environment.get(name)]
        raise TrainingError(
            f"Training on {nodes} machines needs {', '.join(missing)} in the environment of the"
            " command on each: the address and a free port of the first machine, and this machine's"
            " number, counted from 0.\nUnder torchrun, Slurm, SageMaker, Vertex AI, SkyPilot and"
            " Ray Train they are read from the variables that these set."
        )
    if machine.machines not in (None, nodes):
        raise TrainingError(
            f"training.nodes is {nodes}, and {machine.named_by} has {machine.machines} machines:"
            f" set training.nodes={machine.machines}, or start {nodes}."
        )
    if machine.rank >= nodes:
        raise TrainingError(
            f"{machine.named_by} calls this machine number {machine.rank}, counted from 0, of"
            f" {nodes} (training.nodes)."
        )
    return machine.variables


def _by_hand(given: Mapping[str, str]) -> Machine | None:
    if "LOCAL_WORLD_SIZE" in given or not _has(given, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        return None
    port, rank = _number(given, "MASTER_PORT"), _number(given, "NODE_RANK")
    return Machine(given["MASTER_ADDR"], port, rank, None, "the environment")


def _torchrun(given: Mapping[str, str]) -> Machine | None:
    if not _has(given, "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK"):
        return None
    _one_process(given, "torchrun", "--nproc-per-node=1")
    return Machine(
        given["MASTER_ADDR"],
        _number(given, "MASTER_PORT"),
        _number(given, "GROUP_RANK"),
        _number(given, "WORLD_SIZE") if "WORLD_SIZE" in given else None,
        "torchrun",
    )


def _ray_train(given: Mapping[str, str]) -> Machine | None:
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
    if "TORCHELASTIC_RUN_ID" in given or not _has(given, *names):
        return None
    _one_process(
        given,
        "Ray Train",
        "ScalingConfig(num_workers=MACHINES) with all of a machine's"
        " devices in resources_per_worker",
    )
    # The port itself is taken by the process group that Ray Train makes.
    port = _number(given, "MASTER_PORT") + 1
    rank, count = _number(given, "NODE_RANK"), _number(given, "WORLD_SIZE")
    return Machine(given["MASTER_ADDR"], port, rank, count, "Ray Train")


def _sagemaker(given: Mapping[str, str]) -> Machine | None:
    if not _has(given, "SM_HOSTS", "SM_CURRENT_HOST"):
        return None
    hosts = _json(given, "SM_HOSTS")
    this = given["SM_CURRENT_HOST"]
    if not isinstance(hosts, list) or this not in hosts:
        raise TrainingError(f"SM_CURRENT_HOST is {this!r}, and not in SM_HOSTS: {hosts}.")
    return Machine(str(hosts[0]), PORT, hosts.index(this), len(hosts), "SageMaker")


def _vertex(given: Mapping[str, str]) -> Machine | None:
    if not _has(given, "CLUSTER_SPEC"):
        return None
    spec = _json(given, "CLUSTER_SPEC")
    try:
        pools = [list(spec["cluster"].get(name, ())) for name in VERTEX_POOLS]
        kind, index = spec["task"]["type"], int(spec["task"]["index"])
        host, _, port = pools[0][0].rpartition(":")
        before = sum(len(pool) for pool in pools[: VERTEX_POOLS.index(kind)])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"CLUSTER_SPEC does not describe machines that train ({error!r}): {spec}."
        ) from error
    return Machine(host, int(port), before + index, sum(map(len, pools)), "Vertex AI")


def _kubeflow(given: Mapping[str, str]) -> Machine | None:
    if "LOCAL_RANK" in given or not _has(given, "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        return None
    return Machine(
        given["MASTER_ADDR"],
        _number(given, "MASTER_PORT"),
        _number(given, "RANK"),
        _number(given, "WORLD_SIZE"),
        "the environment (RANK, WORLD_SIZE)",
    )


def _skypilot(given: Mapping[str, str]) -> Machine | None:
    if not _has(given, "SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK"):
        return None
    addresses = given["SKYPILOT_NODE_IPS"].split()
    rank = _number(given, "SKYPILOT_NODE_RANK")
    return Machine(addresses[0], PORT, rank, len(addresses), "SkyPilot")


def _slurm(given: Mapping[str, str]) -> Machine | None:
    if not _has(given, "SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_NODEID"):
        return None
    names = ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", "SLURM_NNODES")
    counts = [_number(given, name) for name in names if given.get(name)]
    tasks = [_number(given, name) for name in ("SLURM_STEP_NUM_TASKS",) if given.get(name)]
    if counts and tasks and tasks[0] > counts[0]:
        raise TrainingError(
            f"Slurm started {tasks[0]} processes on {counts[0]} machines. Start one per machine"
            " (srun --ntasks-per-node=1) and set training.devices to its devices: the command"
            " starts a process for each itself."
        )
    port = SLURM_PORTS[_number(given, "SLURM_JOB_ID") % len(SLURM_PORTS)]
    return Machine(
        first_host(given.get("SLURM_STEP_NODELIST") or given["SLURM_JOB_NODELIST"]),
        port,
        _number(given, "SLURM_NODEID"),
        counts[0] if counts else None,
        "Slurm",
    )


_READERS: tuple[Callable[[Mapping[str, str]], Machine | None], ...] = (
    *(_by_hand, _torchrun, _ray_train, _sagemaker, _vertex, _kubeflow, _skypilot, _slurm),
)


def first_host(nodes: str) -> str:
    """The first machine of Slurm's compressed list.

    >>> first_host("gpu[07-09,12],cpu1")
    'gpu07'
    """
    first = re.match(r"[^,\[]*(\[[^\]]*\][^,\[]*)*", nodes)
    name = first[0] if first else nodes
    return re.sub(r"\[([^,\-\]]+)[^\]]*\]", r"\1", name)


def _has(given: Mapping[str, str], *names: str) -> bool:
    return all(given.get(name) for name in names)


def _number(given: Mapping[str, str], name: str) -> int:
    try:
        return int(given[name])
    except ValueError:
        raise TrainingError(
            f"{name} is {given[name]!r} in the environment, not a number."
        ) from None


def _json(given: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(given[name])
    except ValueError as error:
        raise TrainingError(f"{name} in the environment is not JSON ({error}).") from error


def _one_process(given: Mapping[str, str], launcher: str, remedy: str) -> None:
    started = _number(given, "LOCAL_WORLD_SIZE") if given.get("LOCAL_WORLD_SIZE") else 1
    if started > 1:
        raise TrainingError(
            f"{launcher} started {started} processes on this machine. Start one ({remedy}) and set"
            f" training.devices={started}: the command starts a process per device itself."
        )
