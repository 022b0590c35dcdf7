"""A Dask cluster as a pool of workers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from cannabis_ml.errors import EngineError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 30.0

WORKERS_SECONDS = 120.0
"""Machines that are rented for the run take minutes to start."""


class DaskPool:
    """The workers of a Dask scheduler; a context manager.

    Args:
        address: Of the scheduler, such as `tcp://10.0.0.1:8786`; `tls://` takes its certificates
            from Dask's own configuration.
        connect_seconds: How long the scheduler may take to answer.
        workers_seconds: How long the first worker may take to join.

    Raises:
        EngineError: If Dask is not installed, nothing answers, or no worker joins.
    """

    def __init__(
        self,
        address: str,
        connect_seconds: float = CONNECT_SECONDS,
        workers_seconds: float = WORKERS_SECONDS,
    ) -> None:
        self._address = address
        self._seconds = connect_seconds, workers_seconds

    def __enter__(self) -> DaskPool:
        self._client = _connected(self._address, *self._seconds)
        # Not pure: two chunks that are alike are two chunks.
        self._executor = self._client.get_executor(pure=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def count(self) -> int:
        """Threads of all workers."""
        return sum(self._client.nthreads().values())

    def share(self, data: bytes) -> object:
        """Bring data to the cluster once.

        As the result of a task, not scattered: what was scattered is lost with its worker.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            return self._client.submit(_same, data, pure=False)

    def submit(self, call: Callable[..., bytes], *args: object) -> Future[bytes]:
        """Call a function on any worker."""
        future: Future[bytes] = self._executor.submit(call, *args)
        return future


def _same(data: bytes) -> bytes:
    return data


def _connected(address: str, connect_seconds: float, workers_seconds: float) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise EngineError(
            f"engine.dask is {address}, and Dask is not installed:"
            ' pip install "cannabis_ml[cluster]"'
        ) from error
    try:
        client = Client(address, timeout=connect_seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"No Dask scheduler answers at {address} within {connect_seconds:g} seconds"
            f" ({error}).\nStart one with `dask scheduler`, give the address that it prints as"
            " engine.dask, or leave engine.dask out to use the threads of this machine."
        ) from error
    try:
        client.wait_for_workers(1, timeout=workers_seconds)
    except TimeoutError as error:
        client.close()
        raise EngineError(
            f"The Dask scheduler at {address} has no workers, and none joined within"
            f" {workers_seconds:g} seconds.\nStart some with `dask worker {address}` on machines"
            " that have this project installed."
        ) from error
    return client
