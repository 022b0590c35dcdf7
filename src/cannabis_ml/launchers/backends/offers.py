"""Which machine of a provider is the smallest that has what a job asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.job import Machine


class Offer(NamedTuple):
    """A kind of machine that a provider rents.

    Attributes:
        name: The provider's.
        gpu: Kind of its GPUs; empty: none.
        gpus: Number of them.
        cpus: Virtual CPUs.
        memory_gb: Main memory.
    """

    name: str
    gpu: str
    gpus: int
    cpus: int
    memory_gb: float


def smallest(machine: Machine, offers: Sequence[Offer], provider: str) -> Offer:
    """The smallest machine with the first of the job's GPU kinds that the provider has.

    Raises:
        LaunchError: It has none of these kinds, or none that is large enough.
    """
    kinds = (machine.gpu, *machine.fallbacks) if machine.gpu else ("",)
    known = [kind for kind in kinds if any(offer.gpu == kind for offer in offers)]
    if not known:
        have = ", ".join(sorted({offer.gpu for offer in offers if offer.gpu}))
        raise LaunchError(f"{provider} has no {' and no '.join(map(str, kinds))}; it has {have}.")
    for kind in known:
        fit = [
            offer
            for offer in offers
            if offer.gpu == kind
            and (not kind or offer.gpus >= machine.gpus)
            and offer.cpus >= machine.cpus
            and offer.memory_gb >= machine.memory_gb
        ]
        if fit:
            return min(fit, key=_size)
    largest = max((offer for offer in offers if offer.gpu == known[0]), key=_size)
    gpus = f"{machine.gpus} × {known[0]}, " if known[0] else ""
    raise LaunchError(
        f"{provider} has no machine with {gpus}{machine.cpus} CPUs and {machine.memory_gb:g} GB;"
        f" the largest of this kind is {largest.name} with {largest.gpus} GPUs, {largest.cpus} CPUs"
        f" and {largest.memory_gb:g} GB."
    )


def _size(offer: Offer) -> tuple[int, int, float]:
    return offer.gpus, offer.cpus, offer.memory_gb
