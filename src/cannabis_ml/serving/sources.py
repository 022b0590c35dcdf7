"""Where a bundle to serve comes from: a folder, a `.zip`, MLflow's registry, or the hub."""

from __future__ import annotations

import re
from pathlib import Path

from cannabis_ml._io.hub import LATEST, is_commit, moving_commit, version_of
from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.hub import Origin, fetch_bundle, fetch_commit

REGISTRY = "models:/"
HUB = "hf://"

_REGISTERED = re.compile(rf"{REGISTRY}(?P<model>[^@]+)@(?P<alias>[^@/]+)")
_PUBLISHED = re.compile(rf"{HUB}(?P<repo>[^@/]+/[^@/]+)(@(?P<revision>[^@]+))?")


def open_source(source: str, copies: Path, tracking: str | None = None) -> Bundle:
    """Open a bundle; every file is compared with its hash. See `open_with_origin`."""
    return open_with_origin(source, copies, tracking)[0]


def open_with_origin(
    source: str, copies: Path, tracking: str | None = None
) -> tuple[Bundle, Origin | None]:
    """Open a bundle; every file is compared with its hash.

    Args:
        source: A folder, a `.zip`, `models:/NAME@ALIAS` of MLflow's registry, or
            `hf://OWNER/NAME@REVISION` of the Hugging Face hub: a version, a commit, a branch or
            another tag; the highest version where none is named.
        copies: A folder for what is fetched from the registry. What comes from the hub stays in the
            hub's own cache, and is found there when there is no network.
        tracking: URI of MLflow's tracking server; None takes MLflow's own setting.

    Returns:
        The bundle, and the commit of the hub that it was loaded from; None where it was not.

    Raises:
        BundleError: If it is incomplete or altered.
        DeploymentError: If the source cannot be understood.
        HubError: If the hub does not give it.
        PromotionError: If MLflow's registry does not give it.
    """
    if source.startswith(HUB):
        return _from_hub(source)
    if not source.startswith(REGISTRY):
        return Bundle.open(Path(source)), None
    found = _REGISTERED.fullmatch(source)
    if found is None:
        raise DeploymentError(
            f"'{source}' names no alias of MLflow's registry; write {REGISTRY}NAME@champion."
        )
    from cannabis_ml.promotion.registry import fetch_registered

    fetched = fetch_registered(found["model"], found["alias"], copies, tracking)
    return Bundle.open(fetched), None


def _from_hub(source: str) -> tuple[Bundle, Origin]:
    found = _PUBLISHED.fullmatch(source)
    if found is None:
        raise DeploymentError(
            f"'{source}' is not a repository of the hub; write {HUB}OWNER/NAME@REVISION."
        )
    return from_hub(found["repo"], found["revision"] or LATEST)


def from_hub(repo: str, revision: str = LATEST) -> tuple[Bundle, Origin]:
    """Open a bundle of the hub.

    Args:
        repo: Its id.
        revision: A version, `latest`, a commit, or a branch or another tag, which may move.

    Raises:
        BundleError: If what came is not the bundle that was published.
        HubError: If the hub does not give it.
    """
    if revision == LATEST or is_commit(revision) or version_of(revision):
        return fetch_bundle(repo, revision, Bundle.open)
    origin = Origin(repo, None, moving_commit(repo, "model", revision))
    return fetch_commit(origin, Bundle.open), origin
