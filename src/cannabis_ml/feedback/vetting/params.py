"""Parameters of vetting: `feedback.vetting` in parameters_feedback.yml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Method = Literal["majority", "one_coin", "dawid_skene"]

Share = Annotated[float, Field(ge=0, le=1)]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleParams(_Params):
    """How much one opinion is worth by itself, where nothing is known of its person yet."""

    confirmed: Share = Field(default=0.95, description="The answer was confirmed")
    sure_model: Share = Field(
        default=0.95, description="A model above this and a hesitant person: `hesitant_correction`"
    )
    hesitant_person: Share = Field(default=0.7, description="Hesitant is whose confidence is below")
    hesitant_correction: Share = 0.4
    both_sure_model: Share = Field(
        default=0.8, description="A model above this and a person above `both_sure_person`"
    )
    both_sure_person: Share = 0.9
    both_sure: Share = Field(default=0.7, description="What a correction is worth then")
    largest: Share = Field(
        default=0.85, description="Any other correction: the person's confidence, at most this"
    )
    unstated: Share = Field(
        default=0.75, description="Stands for a person's confidence where none was given"
    )


class ConsensusParams(_Params):
    """How opinions of several people on one photo become one label."""

    method: Method = Field(
        default="dawid_skene",
        description="majority: everybody is a typical person; one_coin: people differ in how often"
        " they are right; dawid_skene: also in which classes they confuse, as far as they have"
        " answered enough",
    )
    ordinal: bool = Field(
        default=True, description="For graded heads, A for A+ is less of an error than F for A+"
    )
    typical_people: float = Field(
        default=3.0,
        gt=0,
        description="So many people's weight has what annotators are like elsewhere",
    )
    smoothing: float = Field(
        default=20.0,
        gt=0,
        description="dawid_skene: so many answers per class weigh what is expected of a person's"
        " confusions before they are counted",
    )
    largest_odds: float = Field(
        default=50.0,
        gt=1,
        description="One opinion changes the odds of two classes by this factor at most, whoever"
        " gave it",
    )
    model: bool = Field(
        default=True, description="The model's calibrated probabilities are one more opinion"
    )
    seen_confirmation: Share = Field(
        default=0.5,
        description="Weight of a confirmation by who had seen the answer: it repeats the model in"
        " part. 1: as any other opinion",
    )
    known_from: float = Field(
        default=10.0,
        ge=0,
        description="A person is known from so many answers on that others, the model or a gold"
        " label could be compared with; until then the rules judge opinions that stand alone",
    )
    iterations: int = Field(default=100, ge=1, description="At most")
    tolerance: float = Field(
        default=1e-3, gt=0, description="Largest change of a probability at which it ends"
    )


class PeopleParams(_Params):
    """Who is quarantined."""

    quarantine_below: Share = Field(
        default=0.5,
        description="Quarantined is whose accuracy lies below, by the upper end of its interval",
    )
    quarantine_from: float = Field(
        default=10.0, ge=0, description="And who has so many answers that could be compared"
    )
    interval: float = Field(default=0.95, gt=0, lt=1, description="Probability of the interval")
    quarantined: tuple[str, ...] = Field(
        default=(), description="Pseudonyms whose opinions are set aside; leave them out to undo"
    )
    released: tuple[str, ...] = Field(
        default=(), description="Pseudonyms that are never quarantined by their accuracy"
    )


class CapParams(_Params):
    """How many labels may rest on one person, or on one burst of opinions, alone."""

    person: Share = Field(
        default=0.2, description="Of the accepted labels of a head, at most; 1: no cap"
    )
    burst: Share = Field(default=0.1, description="The same for one burst of one person")
    burst_gap_minutes: float = Field(
        default=10.0, gt=0, description="A pause of a person that ends a burst"
    )
    fewest: int = Field(default=20, ge=0, description="So many labels may always rest on either")
    proven_from: Share = Field(
        default=0.8,
        description="No cap for a person whose accuracy lies above, by the lower end of its"
        " interval",
    )


class OutlierParams(_Params):
    """Photos unlike those that they would be trained with."""

    below: Share = Field(
        default=0.01,
        description="Undecided is a label at a p-value below, where embeddings were given; 0: off",
    )
    neighbors: int = Field(default=5, ge=1)
    reference_photos: int = Field(
        default=2000, ge=20, description="To compare with at most, drawn uniformly"
    )
    seed: int = Field(default=0, ge=0)


class ProposalParams(_Params):
    """When a proposed class has enough photos."""

    photos: int = Field(default=30, ge=1)
    people: int = Field(default=2, ge=1)


class VettingParams(_Params):
    """How opinions become labels."""

    accept_from: Share = Field(
        default=0.6, description="Accepted is a label that is right with at least this probability"
    )
    rules: RuleParams = RuleParams()
    consensus: ConsensusParams = ConsensusParams()
    people: PeopleParams = PeopleParams()
    caps: CapParams = CapParams()
    outliers: OutlierParams = OutlierParams()
    proposals: ProposalParams = ProposalParams()
