"""Parameters of the assistant: `assistant` in parameters_assistant.yml."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml._io.files import HomePath


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelParams(_Params):
    """Which language model is asked."""

    provider: Literal["anthropic", "openai"] = Field(
        default="anthropic",
        description="openai: also servers that speak its protocol, such as llama.cpp, Ollama, vLLM",
    )
    name: str = Field(default="claude-haiku-5-5", min_length=1)
    base_url: str | None = Field(
        default=None,
        description="Address of another server, such as http://localhost:8080/v1; null: the"
        " provider's own",
    )
    key: str | None = Field(
        default=None,
        description="Name of the environment variable with the key; null: ANTHROPIC_API_KEY or"
        " OPENAI_API_KEY. With a base_url no key is needed",
    )


class PhotoParams(_Params):
    """What leaves the machine of a photo: its pixels, scaled down, and nothing else."""

    longest_side: int = Field(default=1024, ge=64, le=4096, description="Pixels, at most")
    quality: int = Field(default=85, ge=1, le=95, description="Of the JPEG")


class PaceParams(_Params):
    """How fast questions are asked, and how often again."""

    concurrency: int = Field(default=4, ge=1, le=64)
    per_minute: float = Field(default=50.0, gt=0, description="Requests started, at most")
    attempts: int = Field(
        default=6, ge=1, description="Of one question, where the provider is busy or out of reach"
    )
    first_wait: float = Field(
        default=2.0, ge=0, description="Seconds before the second attempt; doubled each time"
    )
    longest_wait: float = Field(default=60.0, ge=0, description="Seconds")
    timeout: float = Field(default=120.0, gt=0, description="Seconds for one reply")
    poll: float = Field(default=30.0, gt=0, description="Seconds between looks at a batch")
    seed: int = Field(default=0, ge=0, description="Of the jitter of waits")


class Price(_Params):
    """Dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    batch: float = Field(default=0.5, gt=0, le=1, description="Factor in a batch")


class Prices(_Params):
    """The price table."""

    date: date
    models: dict[str, Price] = Field(description="By name of the model")


class BudgetParams(_Params):
    """What one run may cost."""

    most_usd: float = Field(
        default=5.0, ge=0, description="No request is sent that could exceed it"
    )
    batch: bool = Field(
        default=True,
        description="Ask in batches where the provider has them: half the price, within 24 hours",
    )
    batch_from: int = Field(
        default=20, ge=1, description="Questions from which a batch is worth it"
    )
    tokens_per_question: int | None = Field(
        default=None,
        ge=1,
        description="Input tokens of a question, at most, for servers that do not count them",
    )


class SuggestParams(_Params):
    """Labels for photos that have none."""

    heads: tuple[str, ...] | None = Field(default=None, description="null: all of the taxonomy")
    most_tokens: int = Field(default=1024, ge=64, description="Of an answer")


class ReviewParams(_Params):
    """Labels that are looked at again, answers that are checked, flips that are judged."""

    most_tokens: int = Field(default=512, ge=64, description="Of an answer")
    worst_classes: int = Field(default=3, ge=1, description="With the lowest recall, for `worst`")
    seed: int = Field(default=0, ge=0, description="Of samples, and of the order of two answers")


class ExplainParams(_Params):
    """Explanations for growers."""

    language: str = Field(default="en", min_length=2, max_length=35, description="A BCP 47 tag")
    most_tokens: int = Field(default=1024, ge=64, description="Of an answer")


class AssistantParams(_Params):
    """All of the assistant."""

    folder: HomePath = Field(
        default=Path("data/07_model_output/assistant"),
        description="Answers that were paid for, batches that are under way, and what was sent",
    )
    model: ModelParams = ModelParams()
    photo: PhotoParams = PhotoParams()
    pace: PaceParams = PaceParams()
    budget: BudgetParams = BudgetParams()
    prices: Prices
    suggest: SuggestParams = SuggestParams()
    review: ReviewParams = ReviewParams()
    explain: ExplainParams = ExplainParams()
