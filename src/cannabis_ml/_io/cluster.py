"""Ordered mapping over the machines of a cluster.

Items travel in pickled chunks, so that an engine never looks into them; the function travels once.
Chunks are pure, so a chunk whose worker was lost is computed again by another one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from cannabis_ml._io.allocator import reuse_memory
from cannabis_ml._io.engine import Engine
from cannabis_ml._io.photo_files import start_folder
from cannabis_ml.errors import CannabisMLError, EngineError

T = TypeVar("T")
R = TypeVar("R")

CHUNKS_AHEAD = 3
"""Chunks per worker that are on their way or wait to be taken."""

COUNT_AGAIN = 5.0
"""Seconds after which workers are counted again: a cluster grows and shrinks during a run."""

LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "albumentations", "albucore", "torch")
"""What decides the bytes and numbers that a photo becomes."""


class Pool(Protocol):
    """The workers of a cluster."""

    def count(self) -> int:
        """Calls that can run at once."""

    def share(self, data: bytes) -> object:
        """Bring data to the cluster once; what is returned stands for it in `submit`."""

    def submit(self, call: Callable[..., bytes], *args: object) -> Future[bytes]:
        """Call a function on any worker, again on another one if that worker is lost."""


class Asking(NamedTuple):
    """The process that asks for the work.

    Attributes:
        versions: As `installed` gives them.
        folder: What relative paths start from.
    """

    versions: str
    folder: str


def map_on_cluster(function: Callable[[T], R], items: Iterable[T], engine: Engine) -> Iterator[R]:
    """Apply `function` on the workers and yield the results in the order of `items`.

    Args:
        function: Picklable; defined in a module that the workers have too.
        items: Picklable; gone through once, little by little.
        engine: The cluster, and how many items make a chunk.

    Raises:
        EngineError: If the cluster cannot be reached, has no workers, or has other versions of the
            code than this process.
        Exception: The first that `function` raises, in the order of `items`.
    """
    with _pool(engine) as pool:
        asking = Asking(installed(), str(Path.cwd()))
        shared = pool.share(pickle.dumps(function, pickle.HIGHEST_PROTOCOL))
        rest = iter(items)
        waiting: deque[Future[bytes]] = deque()
        room, counted = pool.count(), time.monotonic()
        try:
            while chunk := list(islice(rest, engine.chunk)):
                data = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
                waiting.append(pool.submit(run_chunk, shared, data, asking))
                if time.monotonic() - counted > COUNT_AGAIN:
                    room, counted = pool.count(), time.monotonic()
                while len(waiting) >= max(1, room) * CHUNKS_AHEAD:
                    yield from _results(waiting.popleft(), engine)
            while waiting:
                yield from _results(waiting.popleft(), engine)
        finally:
            for future in waiting:
                future.cancel()


def run_chunk(function: bytes, items: bytes, asking: Asking) -> bytes:
    """Apply a function to a chunk of items, on a worker.

    Args:
        function: Pickled.
        items: A pickled list.
        asking: Who asks.

    Returns:
        Pickled: the results up to the first error, and that error or None.
    """
    results: list[object] = []
    before = start_folder.set(asking.folder)
    try:
        _check_versions(asking.versions)
        call = _function(function)
        for item in pickle.loads(items):
            results.append(call(item))  # noqa: PERF401 - those before an error count
    except Exception as error:
        return pickle.dumps((results, _portable(error)), pickle.HIGHEST_PROTOCOL)
    finally:
        start_folder.reset(before)
    return pickle.dumps((results, None), pickle.HIGHEST_PROTOCOL)


@functools.cache
def installed() -> str:
    """What this process computes with: a hash of our code, and the libraries' versions; JSON."""
    folder = Path(__file__).parents[1]
    code = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        code.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    found = {"cannabis_ml": code.hexdigest()[:12]}
    return json.dumps(found | {name: _version(name) for name in LIBRARIES})


def _pool(engine: Engine) -> AbstractContextManager[Pool]:
    if engine.ray:
        from cannabis_ml._io.cluster_ray import RayPool

        return RayPool(engine.ray)
    from cannabis_ml._io.cluster_dask import DaskPool

    return DaskPool(str(engine.dask))


def _results(future: Future[bytes], engine: Engine) -> Iterator[R]:
    try:
        answer = future.result()
    except (CannabisMLError, KeyboardInterrupt):
        raise
    except (Exception, CancelledError) as error:
        reason = str(error).strip() or type(error).__name__
        raise EngineError(
            f"A chunk of {engine.chunk} could not be worked on at {engine.dask or engine.ray}:"
            f" {reason}\nA chunk is tried again when its worker is lost, but not for ever: see the"
            " workers' logs for what ends them (memory, most often; a smaller engine.chunk or"
            " fewer threads per worker take less)."
        ) from error
    results, failure = pickle.loads(answer)
    yield from results
    if failure is not None:
        raise failure


@functools.lru_cache(maxsize=2)
def _function(pickled: bytes) -> Callable[[object], object]:
    import cv2

    cv2.setNumThreads(1)  # photos share the cores, not the rows of one photo
    # A worker's threads would give every photo's memory back: 2,200 page faults a photo.
    reuse_memory()
    call: Callable[[object], object] = pickle.loads(pickled)
    return call


def _check_versions(expected: str) -> None:
    if installed() == expected:
        return
    theirs, ours = json.loads(installed()), json.loads(expected)
    other = [
        f"{name} {theirs[name]} (here {ours[name]})" for name in ours if theirs[name] != ours[name]
    ]
    raise EngineError(
        f"A worker on {socket.gethostname()} has other code than the machine that started the run:"
        f" {', '.join(other)}.\nPhotos would come out as other bytes. Install the same commit and"
        " requirements.lock on both, and start the worker again."
    )


def _portable(error: Exception) -> Exception:
    """The error, with the worker's traceback as a note, or what stands for it elsewhere."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # an error of a library whose constructor takes other arguments
        copy = EngineError(f"{type(error).__name__} on {socket.gethostname()}: {error}")
    copy.add_note(f"On the worker {socket.gethostname()}:\n{trace}")
    return copy


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
