"""Language models among the annotators: their pseudonyms, by which they are told from bundles."""

from __future__ import annotations

import re

PREFIX = "assistant:"
"""What pseudonyms of language models begin with; no id of a bundle does."""


def assistant_id(model: str) -> str:
    """Pseudonym of a language model, such as `assistant:claude-haiku-5-5`."""
    return PREFIX + re.sub(r"[^A-Za-z0-9._:@+=-]", "-", model)[:100]


def is_assistant(bundle_id: str | None) -> bool:
    """Whether what answered is a language model and not a bundle."""
    return bundle_id is not None and bundle_id.startswith(PREFIX)
