"""Suppress the output of converters, unless they fail."""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

logger = logging.getLogger(__name__)


@contextmanager
def held_back(*loggers: str) -> Iterator[None]:
    """Suppress output, warnings and logs of Python and of compiled code.

    Converters draw progress bars and report their own internals; compiled ones write to the
    process's output directly. If the block raises, what was printed is logged, as it may hold
    the reason.

    Args:
        loggers: Names of loggers whose messages below errors are suppressed.
    """
    loud = [logging.getLogger(name) for name in loggers]
    levels = [each.level for each in loud]
    for each in loud:
        each.setLevel(logging.ERROR)
    kept: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _descriptors_into(kept), _streams_into(kept):
                yield
    except BaseException:
        logger.info("Output of the converter: %s", "".join(kept))
        raise
    finally:
        for each, level in zip(loud, levels, strict=True):
            each.setLevel(level)


class _Stream(io.TextIOBase):
    """Keeps what is written until it is released, then passes it on.

    Libraries that are imported meanwhile may hold on to it, as the stream that their logs go to.
    """

    def __init__(self, behind: TextIO, kept: list[str]) -> None:
        self._behind, self._kept, self.released = behind, kept, False

    def write(self, text: str) -> int:
        if self.released:
            return self._behind.write(text)
        self._kept.append(text)
        return len(text)

    def flush(self) -> None:
        if self.released:
            self._behind.flush()


@contextmanager
def _streams_into(kept: list[str]) -> Iterator[None]:
    """Keep what Python prints, which need not go to the process's own output: in notebooks."""
    streams = [_Stream(sys.stdout, kept), _Stream(sys.stderr, kept)]
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            yield
    finally:
        for stream in streams:
            stream.released = True


@contextmanager
def _descriptors_into(kept: list[str]) -> Iterator[None]:
    """Keep what the process writes to descriptors 1 and 2."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as file:
        before = [(target, os.dup(target)) for target in (1, 2)]
        for target, _ in before:
            os.dup2(file.fileno(), target)
        try:
            yield
        finally:
            for target, old in before:
                os.dup2(old, target)
                os.close(old)
            file.seek(0)
            kept.append(file.read().decode(errors="replace"))
