"""Where a bundle to serve comes from: a folder, a `.zip`, or an alias of MLflow's registry."""

from __future__ import annotations

import re
from pathlib import Path

from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle

SCHEME = "models:/"

_REGISTERED = re.compile(rf"{SCHEME}(?P<model>[^@]+)@(?P<alias>[^@/]+)")


def open_source(source: str, copies: Path, tracking: str | None = None) -> Bundle:
    """Open a bundle; every file is compared with its hash.

    Args:
        source: A folder, a `.zip`, or `models:/NAME@ALIAS` of MLflow's registry.
        copies: A folder for what is fetched.
        tracking: URI of MLflow's tracking server; None takes MLflow's own setting.

    Raises:
        BundleError: If it is incomplete or altered.
        DeploymentError: If the source cannot be understood.
        PromotionError: If MLflow's registry does not give it.
    """
    if not source.startswith(SCHEME):
        return Bundle.open(Path(source))
    found = _REGISTERED.fullmatch(source)
    if found is None:
        raise DeploymentError(
            f"'{source}' names no alias of MLflow's registry; write {SCHEME}NAME@champion."
        )
    from cannabis_ml.promotion.registry import fetch_registered

    return Bundle.open(fetch_registered(found["model"], found["alias"], copies, tracking))
