"""What was found of near-duplicates and named groups across splits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LowerLimits(_Strict):
    """The largest lower limits at which no part of a chain is too large; None: there are none."""

    max_distance: int | None
    max_difference: float | None


class ChainReport(_Strict):
    """A chain of near-duplicates that holds a large part of the photos."""

    photos: int
    of: int = Field(description="Photos in all")
    share: float
    first: str = Field(description="Path")
    last: str = Field(description="Path")
    difference: float = Field(description="Of the farthest thumbnail from the first")
    max_difference: float = Field(description="Up to which thumbnails are near")
    lower: LowerLimits

    @property
    def sentence(self) -> str:
        return (
            f"A chain of near-duplicates holds {self.photos:,} of {self.of:,} photos "
            f"({self.share:.0%}), from {self.first} to {self.last}: each is nearly the same"
            f" as another, and the farthest differs from the first by {self.difference:.3f}, where"
            f" {self.max_difference:g} makes near-duplicates. They all share one split."
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        limits = self.lower.model_dump()
        lower = [
            f"{name} to {limits[name]:g}"
            for name in ("max_difference", "max_distance")
            if limits[name] is not None
        ]
        if not lower:
            return "No lower limits break it: bring photos of other plants."
        return (
            "If they show one plant, bring photos of others. If not, lower"
            f" ingestion.groups.{' or '.join(lower)}: then no part of it is as large. The pairs"
            " that this cuts are counted as links across splits."
        )


class LinkReport(_Strict):
    """Near-duplicates and named groups that lie in several splits."""

    looked_for: bool = Field(description="Whether near-duplicates were")
    max_distance: int = Field(description="Limit that pairs were counted within")
    max_difference: float = Field(description="Limit that pairs were counted within")
    across_splits: int | None = Field(
        default=None, description="Pairs in different splits; null if none were looked for"
    )
    photos_across: dict[str, int] = Field(default={}, description="By split, photos in such pairs")
    kept: int = Field(description="Photos")
    in_named_groups: int = Field(
        description="Photos whose source names their plant, burst or what else must stay together"
    )
    named_groups_across: int = Field(description="Such groups in several splits")
    chains: list[ChainReport] = []


class DivisionCheck(_Strict):
    """What was checked of the division into splits."""

    links: LinkReport
