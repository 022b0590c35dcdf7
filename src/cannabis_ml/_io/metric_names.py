"""Metric and parameter names as MLflow takes them."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable

LONGEST = 250
"""Characters of a name, at most."""

_HASH = 8


def mlflow_keys(names: Iterable[str]) -> dict[str, str]:
    """Spell names as MLflow takes them, never two alike.

    MLflow takes letters, digits and `_-./: `, at most 250 of them, and no name that reads as
    another path, such as `a//b` or `..`. Two names may become one by that, or differ only by case,
    which some databases treat as equal: those that were changed get a hash of the original.

    Args:
        names: Of all that is logged together; each once.

    Returns:
        The spelling of each name, in the same order.
    """
    spelled = {name: mlflow_key(name) for name in names}
    taken = Counter(key.casefold() for key in spelled.values())
    # A name that needed no change keeps it, so that it is the same in every run.
    kept = {key.casefold(): key for name, key in reversed(spelled.items()) if key == name}
    return {
        name: key
        if taken[key.casefold()] == 1 or kept.get(key.casefold()) == name
        else _marked(key, name)
        for name, key in spelled.items()
    }


def mlflow_key(name: str) -> str:
    """Spell one name with what MLflow allows; see `mlflow_keys` for several."""
    key = name.replace("+", " plus")
    key = "".join(c if c.isalnum() or c in "_-./: " else "_" for c in key)
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        # Not a path any more.
        key = key.replace("/", "_") if key.strip("./") else "_" * max(1, len(key))
        key = f"_{key}" if key.startswith("..") else key
    return key if len(key) <= LONGEST else _marked(key, name)


def _marked(key: str, name: str) -> str:
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    return f"{key[: LONGEST - _HASH - 1]} {mark}"
