"""Parameters of balancing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cannabis_ml.text import Name

Strategy = Literal["none", "oversample", "undersample", "weighted", "effective_number"]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class BalancingParams(BaseModel):
    """How class imbalance is corrected."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field(
        default="none",
        description="none: every training photo once; oversample: rows repeated up to the largest "
        "class; undersample: rows left out down to the smallest; weighted: every photo once, "
        "weights total/(classes x count); effective_number: the same with the weights of Cui et "
        "al. 2019",
    )
    heads: Annotated[list[Name], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="Head to balance; several: every combination of their classes is one class; "
        "none named: the first multiclass or ordinal head of the taxonomy",
    )
    beta: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="effective_number: n photos of a class count as (1 - beta^n)/(1 - beta); 0: "
        "every class the same whatever its count, near 1: by inverse frequency",
    )
    seed: int = Field(
        default=0, ge=0, description="Decides which photos are repeated once more or left out"
    )
