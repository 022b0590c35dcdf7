"""Clusters of Dask on this machine, of processes that `fork_server` forks."""

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

NODE = Path(__file__).with_name("dask_node.py")

LIBRARIES = ("distributed", "cv2", "pandas", "pyarrow", "albumentations")
"""What a worker has loaded before it starts."""


class DaskCluster:
    """A scheduler and workers; a context manager.

    Args:
        server: A `ForkServer` with `LIBRARIES`.
        hosts: Address and namespace (or None) of each node; the scheduler is on the first.
    """

    def __init__(self, server, hosts=(("127.0.0.1", None),)):
        self._server, self._hosts, self._started = server, hosts, []
        self.address = ""

    def __enter__(self):
        scheduler = self._start("scheduler", self._hosts[0][0], at=0)
        self.address = scheduler.first_line()
        return self

    def __exit__(self, *_):
        for node in reversed(self._started):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                node.send_signal(signal.SIGKILL)
        for node in self._started:
            node.wait()

    def add_worker(self, at=0, dies_in_task=0):
        """Start a worker on a node and wait until it has joined."""
        node = self._start(
            "worker", self.address, self._hosts[at][0], at=at, dies_in_task=dies_in_task
        )
        assert node.first_line() == "joined"
        return node

    def _start(self, *command, at, dies_in_task=0):
        namespace = self._hosts[at][1]
        options = ["--namespace", namespace] if namespace else []
        options += ["--dies-in-task", str(dies_in_task)] if dies_in_task else []
        node = self._server.start([NODE, *command, *options], env=_environment())
        self._started.append(node)
        return node


def _environment():
    # Heartbeats and profiles of an idle cluster take as much time as small photos do.
    quiet = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(NODE.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **quiet, "PYTHONPATH": path}


def why_no_namespaces():
    """Why two nodes cannot be told apart by network namespaces here; None where they can."""
    if shutil.which("ip") is None:
        return "no `ip` command"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"try-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"`ip netns add` fails: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@contextlib.contextmanager
def two_namespaces():
    """Two network namespaces that reach each other; yields address and namespace of each."""
    key = uuid.uuid4().hex[:6]
    names = [f"n1-{key}", f"n2-{key}"]
    links = [f"v1-{key}", f"v2-{key}"]
    addresses = ["10.77.0.1", "10.77.0.2"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip(
            "link",
            "add",
            links[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            links[1],
            "netns",
            names[1],
        )
        for name, link, address in zip(names, links, addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(addresses, names, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*command):
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
