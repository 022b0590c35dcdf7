"""Explanations of answers by a language model, for those who press the button."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

from cannabis_ml.assistant.cache import AnswerCache
from cannabis_ml.assistant.cost import Budget, find_price
from cannabis_ml.assistant.explaining import (
    Explained,
    Explanation,
    explanation_question,
    read_explanation,
)
from cannabis_ml.assistant.ledger import Ledger, SharedCap
from cannabis_ml.assistant.opening import open_provider
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.params import ExplainParams
from cannabis_ml.assistant.runner import Runner
from cannabis_ml.assistant.treatments import read_treatments
from cannabis_ml.errors import AssistantError, ConfigError
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.serving.assistant_settings import AssistantSettings
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.problems import ServiceError


class ExplanationDesk:
    """Asks the language model, in threads of its own: photos of others do not wait for it.

    Args:
        settings: Who is asked, and what all processes of the service may spend.

    Raises:
        ConfigError: If there is no key, no SDK or no price, or rules are not valid.
    """

    def __init__(self, settings: AssistantSettings) -> None:
        params = settings.params
        pace = params.pace.model_copy(update={"attempts": settings.attempts, "concurrency": 1})
        budget = params.budget.model_copy(update={"batch": False})
        self._params = params.model_copy(update={"pace": pace, "budget": budget})
        self._rules = read_treatments(settings.treatments)
        self._provider = open_provider(params.model, params.pace.timeout)
        self._price = find_price(params.model, params.prices)
        self._cache = AnswerCache(params.folder)
        self._ledger = Ledger(params.folder, "service")
        self._cap = SharedCap(params.budget.most_usd, settings.days)
        self.threads = ThreadPoolExecutor(params.pace.concurrency, "explaining")

    @property
    def model(self) -> str:
        """Name of the language model."""
        return self._provider.model

    def question(self, loaded: LoadedBundle, photo: bytes, language: str) -> Explained:
        """What is asked about a photo: the largest tier's report and the smallest one's heat map.

        Raises:
            UnreadableError: If the file gives no photo.
        """
        report = loaded.report(photo, loaded.tiers[-1], "en")
        heat_map = loaded.heat_map(photo, loaded.tiers[0])
        params = ExplainParams(language=language, most_tokens=self._params.explain.most_tokens)
        source = PhotoSource(photo_id(photo), "", lambda: photo)
        return explanation_question(source, report, heat_map, self._rules, params)

    def answer(self, asked: Explained) -> Explanation:
        """Ask, and wait.

        Raises:
            ServiceError: 503 if there is no answer, such as where the cap is reached.
        """
        own = (self._provider, self._cache, self._params, self._price)
        runner = Runner(*own, self._ledger, self._cap)
        runner.budget = Budget(math.inf)  # the ledger holds the cap, over all processes
        try:
            outcome = runner.ask_now(asked.item)
        except (AssistantError, ConfigError) as error:
            raise unavailable(str(error)) from error
        if outcome.status != "answered":
            raise unavailable(outcome.reason)
        return read_explanation(asked, outcome, self.model)

    def close(self) -> None:
        """Ask nothing more."""
        self.threads.shutdown(wait=False, cancel_futures=True)


def unavailable(why: str) -> ServiceError:
    """There is no explanation now; the report stands without."""
    return ServiceError(503, f"There is no explanation: {why}", {"retry-after": "30"})
