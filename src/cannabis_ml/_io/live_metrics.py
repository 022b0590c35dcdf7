"""Metrics of an epoch, handed to whoever wants them while training runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

Listener = Callable[[Mapping[str, float], str, int], None]
"""Takes the numbers of an epoch by name, the prefix of their names in a tracker (`tier3`, or none),
and the number of the epoch: from 1, 0 where heads were solved before."""

_listeners: list[Listener] = []


def add_listener(listener: Listener) -> None:
    """Hand the epochs from now on to a listener, besides those that are there; once is enough."""
    if listener not in _listeners:
        _listeners.append(listener)


def remove_listener(listener: Listener) -> None:
    """Hand a listener no more epochs; nothing happens if it got none."""
    if listener in _listeners:
        _listeners.remove(listener)


def publish(numbers: Mapping[str, float], log_as: str, epoch: int) -> None:
    """Hand an epoch to every listener; one that fails stops neither the others nor training.

    Args:
        numbers: Metrics by name.
        log_as: Prefix of their names; may be empty.
        epoch: From 1; 0 where heads were solved before.
    """
    for listener in tuple(_listeners):
        try:
            listener(numbers, log_as, epoch)
        except Exception:
            # A full disk, a server that is away: all lose a curve, not a training.
            logger.warning("A tracker did not take the metrics of epoch %d", epoch, exc_info=True)
