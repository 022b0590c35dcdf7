"""Where a bundle to serve comes from: a folder, a `.zip`, MLflow's registry, or the hub."""

from __future__ import annotations

import re
from pathlib import Path

from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.text import one_line

REGISTRY = "models:/"
HUB = "hf://"

_REGISTERED = re.compile(rf"{REGISTRY}(?P<model>[^@]+)@(?P<alias>[^@/]+)")
_PUBLISHED = re.compile(rf"{HUB}(?P<repo>[^@/]+/[^@/]+)(@(?P<revision>[^@]+))?")


def open_source(source: str, copies: Path, tracking: str | None = None) -> Bundle:
    """Open a bundle; every file is compared with its hash.

    Args:
        source: A folder, a `.zip`, `models:/NAME@ALIAS` of MLflow's registry, or
            `hf://OWNER/NAME@REVISION` of the Hugging Face hub: a branch, a tag or a commit, `main`
            where none is named.
        copies: A folder for what is fetched from the registry. What comes from the hub stays in the
            hub's own cache, and is found there when there is no network.
        tracking: URI of MLflow's tracking server; None takes MLflow's own setting.

    Raises:
        BundleError: If it is incomplete or altered.
        DeploymentError: If the source cannot be understood, or the hub does not give it.
        PromotionError: If MLflow's registry does not give it.
    """
    if source.startswith(HUB):
        return _from_hub(source)
    if not source.startswith(REGISTRY):
        return Bundle.open(Path(source))
    found = _REGISTERED.fullmatch(source)
    if found is None:
        raise DeploymentError(
            f"'{source}' names no alias of MLflow's registry; write {REGISTRY}NAME@champion."
        )
    from cannabis_ml.promotion.registry import fetch_registered

    return Bundle.open(fetch_registered(found["model"], found["alias"], copies, tracking))


def _from_hub(source: str) -> Bundle:
    found = _PUBLISHED.fullmatch(source)
    if found is None:
        raise DeploymentError(
            f"'{source}' is not a repository of the hub; write {HUB}OWNER/NAME@REVISION."
        )
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise DeploymentError(
            "Bundles of the hub need its client: pip install huggingface_hub"
        ) from error
    revision = found["revision"] or "main"
    try:
        folder = snapshot_download(found["repo"], revision=revision)
    except Exception as error:  # of the hub, of HTTP, of the network, of the cache
        raise DeploymentError(
            f"{constants.ENDPOINT} does not give {found['repo']} at revision '{revision}':"
            f" {type(error).__name__}: {one_line(error)}\nCheck the name and the revision; for a"
            " private one run: hf auth login. A mirror: set HF_ENDPOINT."
        ) from error
    return Bundle.open(Path(folder))
