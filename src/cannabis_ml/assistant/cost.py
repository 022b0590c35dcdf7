"""What questions cost: prices, an estimate before anything is sent, and a hard cap."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cannabis_ml.assistant.params import ModelParams, Price, Prices
from cannabis_ml.assistant.provider import Usage
from cannabis_ml.errors import AssistantError, ConfigError


@dataclass(frozen=True)
class KnownPrice:
    """A price and where it is from.

    Attributes:
        price: Dollars per million tokens.
        source: In words, with a date or version.
    """

    price: Price
    source: str

    def usd(self, usage: Usage, batch: bool = False) -> float:
        """Dollars for these tokens."""
        own = self.price
        full = (usage.input_tokens * own.input + usage.output_tokens * own.output) / 1e6
        return full * (own.batch if batch else 1.0)


def find_price(model: ModelParams, prices: Prices) -> KnownPrice:
    """Look a model's price up: in the configuration, else in genai-prices.

    A server of one's own (`base_url`) costs nothing unless the table names its model.

    Raises:
        ConfigError: If the price is not known: nothing is asked at a price that nobody knows.
    """
    if model.name in prices.models:
        return KnownPrice(prices.models[model.name], f"parameters_assistant.yml, {prices.date}")
    if model.base_url is not None:
        return KnownPrice(Price(input=0, output=0), f"a server of one's own, {model.base_url}")
    try:
        import genai_prices
    except ImportError:
        raise _unknown(model, "") from None
    # Of a thousand: some models cost more for very long questions.
    thousand = genai_prices.Usage(input_tokens=1000), genai_prices.Usage(output_tokens=1000)
    try:
        each = [
            genai_prices.calc_price(usage, model_ref=model.name, provider_id=model.provider)
            for usage in thousand
        ]
    except LookupError:
        raise _unknown(model, ", and genai-prices does not have it") from None
    price = Price(input=float(each[0].total_price) * 1000, output=float(each[1].total_price) * 1000)
    return KnownPrice(price, f"genai-prices {genai_prices.__version__}")


def _unknown(model: ModelParams, more: str) -> ConfigError:
    return ConfigError(
        f"The price of '{model.name}' is not under assistant.prices.models{more}.\n"
        "Add it there: {input: dollars per million tokens, output: …}, with the date."
    )


class CapReachedError(AssistantError):
    """The next request could exceed what a run may cost; it was not sent."""


class Budget:
    """What a run has spent, and what the requests under way may cost at most.

    Args:
        most_usd: Dollars.
    """

    def __init__(self, most_usd: float) -> None:
        self.most_usd = most_usd
        self.spent = 0.0
        self.carried = 0.0
        self._reserved = 0.0
        self._changed = threading.Condition()
        self._under_way = 0

    def fits(self, usd: float) -> bool:
        """Whether so many dollars would stay within the cap."""
        return self.spent + self.carried + self._reserved + usd <= self.most_usd + 1e-12

    def reserve(self, usd: float) -> None:
        """Set aside what a request may cost at most; waits while those under way may cost less.

        Raises:
            CapReachedError: If that could exceed the cap.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.fits(usd) or self._under_way == 0)
            if not self.fits(usd):
                before = f" (and up to ${self.carried:.4f} by a killed run)" if self.carried else ""
                raise CapReachedError(
                    f"${self.spent:.4f} is spent{before}, and another ${usd:.4f} could exceed the"
                    f" cap of ${self.most_usd:.2f} (assistant.budget.most_usd)"
                )
            self._reserved += usd
            self._under_way += 1

    def settle(self, reserved: float, spent: float) -> None:
        """Replace what was set aside by what it cost."""
        with self._changed:
            self._reserved = max(0.0, self._reserved - reserved)
            self._under_way -= 1
            self.spent += spent
            self._changed.notify_all()

    def carry(self, usd: float) -> None:
        """Count against the cap what an earlier run may have spent for nothing."""
        with self._changed:
            self.carried += usd

    def add(self, spent: float) -> None:
        """Count what was spent without being set aside: by a batch of an earlier run."""
        with self._changed:
            self.spent += spent
