"""How long a run takes by what a probe measured, for other numbers of photos, epochs and sizes.

Every node's time is taken as a fixed part and a part per photo. Of those that train, the epochs are
counted by phase. What networks do with a photo grows with its area, as a smaller probe tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Line(BaseModel):
    """Seconds = `fixed` + (`each` + `sized` × area) × photos.

    The area is that of a photo over that of a probed one: reading a photo takes as long for every
    size of the network, looking at it does not.
    """

    model_config = ConfigDict(frozen=True)

    fixed: float = Field(default=0.0, ge=0)
    each: float = Field(default=0.0, ge=0)
    sized: float = Field(default=0.0, ge=0)

    def at(self, photos: float, area: float = 1.0) -> float:
        """Seconds for so many photos, each `area` times as large."""
        return self.fixed + (self.each + self.sized * area) * photos

    @classmethod
    def through(cls, few: tuple[float, float], many: tuple[float, float]) -> Line:
        """The line through (photos, seconds) of two probes, neither part below 0."""
        (n, s), (m, t) = few, many
        each = max(0.0, (t - s) / (m - n))
        return cls(fixed=max(0.0, t - each * m), each=each)

    def split(self, seconds: float, smaller: float, photos: int, area: float) -> Line:
        """The line with its part per photo divided into what grows with the area and what does not.

        Args:
            seconds: That so many photos took.
            smaller: The same with photos of `area` times the area.
            photos: How many.
            area: Below 1.
        """
        sized = max(0.0, (seconds - smaller) / ((1 - area) * photos))
        sized = min(sized, self.each)
        return Line(fixed=self.fixed, each=self.each - sized, sized=sized)


class TierRate(BaseModel):
    """Of the node that trains a tier.

    Attributes:
        image_size: Side in pixels, at which it was measured.
        phases: Of one epoch of each phase, by name.
        epochs: How many the probed configuration has, by phase.
        besides: All but the epochs: building the network, features computed once.
    """

    model_config = ConfigDict(frozen=True)

    image_size: int = Field(ge=1)
    phases: dict[str, Line]
    epochs: dict[str, int]
    besides: Line


class Plan(BaseModel):
    """What a run differs in from what was probed.

    Attributes:
        photos: Number of photos of the source.
        epochs: By tier and phase; those not named are as probed.
        image_size: By tier; those not named are as probed.
    """

    model_config = ConfigDict(frozen=True)

    photos: int = Field(ge=1)
    epochs: dict[str, dict[str, int]] = {}
    image_size: dict[str, int] = {}


class Throughput(BaseModel):
    """What a probe measured on one machine, for one environment and command.

    Attributes:
        machine: Where, in words.
        command: What was probed.
        photos: How many the source has.
        start: Seconds until the first node, and what only the first node of a kind takes.
        nodes: Of every node that trains no tier, by name.
        tiers: Of those that do, by tier.
        sized: Tier by node, of nodes whose time per photo grows with the tier's size of photos.
    """

    model_config = ConfigDict(frozen=True)

    machine: str
    command: tuple[str, ...]
    photos: int = Field(ge=1)
    start: float = Field(ge=0)
    nodes: dict[str, Line]
    tiers: dict[str, TierRate]
    sized: dict[str, str] = {}

    def seconds(self, plan: Plan | None = None) -> float:
        """How long the run takes."""
        plan = plan or Plan(photos=self.photos)
        areas = {tier: self._area(tier, plan) for tier in self.tiers}
        nodes = sum(
            line.at(plan.photos, areas.get(self.sized.get(name, ""), 1.0))
            for name, line in self.nodes.items()
        )
        tiers = sum(
            _training(rate, plan.photos, areas[tier], plan.epochs.get(tier, {}))
            for tier, rate in self.tiers.items()
        )
        return self.start + nodes + tiers

    def _area(self, tier: str, plan: Plan) -> float:
        probed = self.tiers[tier].image_size
        return (plan.image_size.get(tier, probed) / probed) ** 2


def _training(rate: TierRate, photos: int, area: float, epochs: Mapping[str, int]) -> float:
    seconds = rate.besides.at(photos, area)
    for phase, line in rate.phases.items():
        seconds += epochs.get(phase, rate.epochs[phase]) * line.at(photos, area)
    return seconds
