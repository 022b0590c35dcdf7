"""What MLflow asks of names."""

from contextvars import ContextVar

metric_prefix: ContextVar[str] = ContextVar("metric_prefix", default="")
"""Stands before the names of metrics that a node logs while it runs, so that the tiers' curves do
not mix."""


def mlflow_key(name: str) -> str:
    """Spell a metric's name with what MLflow allows: letters, digits and `_-./: `."""
    spelled = name.replace("+", " plus")
    return "".join(c if c.isalnum() or c in "_-./: " else "_" for c in spelled)
