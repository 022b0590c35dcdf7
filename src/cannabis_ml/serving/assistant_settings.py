"""The language model that explains answers to growers, and what it may cost."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.assistant.params import AssistantParams


class AssistantSettings(BaseModel):
    """Who explains; see docs/assistant.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    params: AssistantParams = Field(
        description="As `assistant` in parameters_assistant.yml; `budget.most_usd` is what all"
        " processes on `folder` may spend within `days`, `pace.concurrency` how many"
        " explanations are written at once"
    )
    treatments: dict[str, Any] = Field(
        default_factory=dict, description="Rules by id, as `treatments` in treatments.yml"
    )
    days: float = Field(default=30, gt=0, description="For which `budget.most_usd` holds")
    attempts: int = Field(
        default=2, ge=1, description="Of one question: somebody waits for the answer"
    )
