"""`cannabis_ml assistant`: a language model suggests, reviews, checks and explains."""

from cannabis_ml.cli_assistant.commands import assistant

__all__ = ["assistant"]
