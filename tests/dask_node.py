"""A scheduler or a worker of Dask, in a network namespace where one is named; run as a process.

dask_node.py scheduler HOST [--namespace NAME]
dask_node.py worker SCHEDULER HOST [--namespace NAME] [--dies-in-task N]
dask_node.py run --namespace NAME -- COMMAND…
"""

import argparse
import asyncio
import ctypes
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path

CLONE_NEWNET = 0x40000000


def enter(namespace):
    """Let this process, which has no threads yet, use the network of a namespace."""
    with Path("/var/run/netns", namespace).open() as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)


async def scheduler(host):
    from distributed import Scheduler

    async with Scheduler(host=host, port=0, dashboard=False) as started:
        print(started.address, flush=True)
        await started.finished()


async def worker(address, host, dies_in_task):
    from distributed import Worker
    from distributed.diagnostics.plugin import WorkerPlugin

    class Dies(WorkerPlugin):
        """The worker is killed while it works on its task of that number."""

        begun = 0

        def transition(self, key, start, finish, **_):
            self.begun += finish == "executing"
            if self.begun == dies_in_task:
                os.kill(os.getpid(), signal.SIGKILL)

    plugins = (Dies(),) if dies_in_task else ()
    with tempfile.TemporaryDirectory() as folder:
        async with Worker(
            address, host=host, nthreads=1, local_directory=folder, plugins=plugins, memory_limit=0
        ) as started:
            print("joined", flush=True)
            await started.finished()


def main():
    given = sys.argv[1:]
    command = []
    if "--" in given:
        given, command = given[: given.index("--")], given[given.index("--") + 1 :]
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("scheduler", "worker", "run"))
    parser.add_argument("addresses", nargs="*")
    parser.add_argument("--namespace")
    parser.add_argument("--dies-in-task", type=int, default=0)
    options = parser.parse_args(given)
    if options.namespace:
        enter(options.namespace)
    if options.kind == "run":
        sys.argv = command
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    elif options.kind == "scheduler":
        asyncio.run(scheduler(*options.addresses))
    else:
        asyncio.run(worker(*options.addresses, options.dies_in_task))


if __name__ == "__main__":
    main()
