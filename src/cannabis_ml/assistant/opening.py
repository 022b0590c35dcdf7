"""From parameters to somebody who can be asked."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cannabis_ml.assistant.cache import AnswerCache
from cannabis_ml.assistant.cost import find_price
from cannabis_ml.assistant.params import AssistantParams, ModelParams
from cannabis_ml.assistant.provider import Provider
from cannabis_ml.assistant.runner import Runner
from cannabis_ml.errors import ConfigError

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""Environment variable of each provider's key, where no other is named."""

ANY_KEY = "none"
"""What servers of one's own are sent, which ask for no key."""


def open_provider(
    model: ModelParams, timeout: float, environment: Mapping[str, str] | None = None
) -> Provider:
    """The configured provider.

    Args:
        model: Whose model, which, and where.
        timeout: Seconds for one request.
        environment: Variables; those of the process where not given.

    Raises:
        ConfigError: If there is no key, or the SDK is not installed.
    """
    variable = model.key or KEYS[model.provider]
    key = (os.environ if environment is None else environment).get(variable, "").strip()
    if not key and (model.base_url is None or model.key is not None):
        raise ConfigError(
            f"The assistant is off: set the environment variable {variable} to your key for"
            f" {model.provider}'s '{model.name}', or assistant.model.base_url to a server of your"
            " own."
        )
    try:
        if model.provider == "anthropic":
            from cannabis_ml.assistant.anthropic_provider import AnthropicProvider

            return AnthropicProvider(model.name, key or ANY_KEY, model.base_url, timeout)
        from cannabis_ml.assistant.openai_provider import OpenAIProvider

        return OpenAIProvider(model.name, key or ANY_KEY, model.base_url, timeout)
    except ImportError as error:
        raise ConfigError(
            f"The assistant is not installed ({error}): pip install 'cannabis_ml[assistant]'."
        ) from error


def open_runner(params: AssistantParams, environment: Mapping[str, str] | None = None) -> Runner:
    """Who asks, with the cache, the price and the cap.

    Raises:
        ConfigError: If there is no key, no SDK or no price.
    """
    provider = open_provider(params.model, params.pace.timeout, environment)
    price = find_price(params.model, params.prices)
    return Runner(provider, AnswerCache(params.folder), params, price)
