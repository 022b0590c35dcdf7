"""A Ray cluster as a pool of workers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from cannabis_ml.errors import EngineError

TRIES_AGAIN = 3
"""Times that a chunk is worked on again after its worker was lost; as Dask's default."""


class RayPool:
    """The workers of a Ray cluster; a context manager.

    Args:
        address: `auto` on a machine of the cluster, or `ray://HOST:10001`.

    Raises:
        EngineError: If Ray is not installed, or nothing answers.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> RayPool:
        try:
            import ray
        except ImportError as error:
            raise EngineError(
                f"engine.ray is {self._address}, and Ray is not installed:"
                ' pip install "cannabis_ml[ray]"'
            ) from error
        self._ray: Any = ray
        try:
            ray.init(address=self._address, log_to_driver=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"No Ray cluster answers at {self._address} ({error}).\nStart one with `ray start"
                " --head`, or leave engine.ray out to use the threads of this machine."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def count(self) -> int:
        """Processor cores of all machines."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    def share(self, data: bytes) -> object:
        """Bring data to the cluster once."""
        return self._ray.put(data)

    def submit(self, call: Callable[..., bytes], *args: object) -> Future[bytes]:
        """Call a function on any worker."""
        remote = self._ray.remote(call).options(
            max_retries=TRIES_AGAIN, scheduling_strategy="SPREAD"
        )
        future: Future[bytes] = remote.remote(*args).future()
        return future
