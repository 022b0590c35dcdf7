"""The tiers of the product: one model per kind of device, and which of them teaches which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cannabis_ml.errors import ConfigError


@dataclass(frozen=True)
class Tier:
    """One model, sized for a kind of device.

    Attributes:
        name: Namespace of its nodes, catalog entries and parameters, such as `tier1.checkpoint`.
        device: What it runs on, as named in the model card.
        teacher: Name of the tier from whose predictions it learns besides the labels; None: it
            learns from the labels alone.
    """

    name: str
    device: str
    teacher: str | None = None


TIERS = (
    Tier("tier1", "phone", teacher="tier3"),
    Tier("tier2", "laptop", teacher="tier3"),
    Tier("tier3", "server"),
)
"""Smallest first. Every stage, report and bundle has these tiers, in this order."""


def tier_named(name: str) -> Tier:
    """The tier of that name.

    Raises:
        ConfigError: If there is none.
    """
    for tier in TIERS:
        if tier.name == name:
            return tier
    raise ConfigError(
        f"There is no tier {name!r}: tiers.py lists {', '.join(tier.name for tier in TIERS)}."
    )


def check_tiers(tiers: tuple[Tier, ...]) -> None:
    """Check that tiers can be trained: at least one, names that differ, teachers after students.

    Raises:
        ConfigError: Names the tiers that cannot be, and what to change in tiers.py.
    """
    if not tiers:
        raise ConfigError("tiers.py lists no tier: list at least one in TIERS.")
    counts = Counter(tier.name for tier in tiers)
    faults = [f"{name} is listed {n} times" for name, n in counts.items() if n > 1]
    for place, tier in enumerate(tiers):
        larger = [other.name for other in tiers[place + 1 :]]
        if tier.teacher is not None and tier.teacher not in larger:
            faults.append(
                f"{tier.name} is taught by {tier.teacher}, which is not listed after it: list"
                f" {tier.teacher} there, or set another teacher or None"
            )
    if faults:
        raise ConfigError("\n  ".join(["The tiers in tiers.py contradict each other:", *faults]))
