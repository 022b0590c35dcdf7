"""The Hugging Face hub: versions of a repository, and what its errors mean.

A version is a tag such as `1.2.0`, of three numbers (https://semver.org), with or without a `v`. It
stands for one commit for ever: publishing moves none, and whoever loads one notes its commit, see
`pinned_commit`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import CannabisMLError, HubError
from cannabis_ml.text import one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RepoKind = Literal["dataset", "model"]

LATEST = "latest"
"""Stands for the highest version."""

PINS = "cannabis_ml_versions.json"
"""Which commit each version stood for when it was first loaded; lies in the hub's cache, in the
folder of the repository."""

REPO = r"[\w][\w.-]*/[\w][\w.-]*"
"""An id on the hub, OWNER/NAME."""

_VERSION = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Version(NamedTuple):
    """A version; they compare as numbers: 1.10.0 is higher than 1.9.0."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Tagged(NamedTuple):
    """A version of a repository, and the commit that it stands for."""

    version: Version
    commit: str


def version_of(name: str) -> Version | None:
    """The version that a tag names; None for other tags, such as `1.2.0-rc1`.

    >>> version_of("v1.10.0") > version_of("1.9.3")
    True
    """
    found = _VERSION.fullmatch(name)
    return None if found is None else Version(*map(int, found.groups()))


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit id, which nothing can move."""
    return _COMMIT.fullmatch(revision) is not None


def highest(tags: Mapping[str, str]) -> Tagged | None:
    """The highest version among tags and their commits; None where no tag is a version."""
    versions = [Tagged(v, commit) for name, commit in tags.items() if (v := version_of(name))]
    return max(versions, default=None)


def commit_of_version(tags: Mapping[str, str], version: Version) -> str | None:
    """The commit of a version among tags, as `1.2.0` or as `v1.2.0`."""
    return tags.get(str(version), tags.get(f"v{version}"))


def hub_api() -> HfApi:
    """The hub's client, for the address in HF_ENDPOINT and the token in HF_TOKEN or the login.

    Raises:
        HubError: If it is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError(
            f"The Hugging Face hub needs its client ({error}): pip install huggingface_hub"
        ) from error
    return HfApi()


@contextmanager
def hub_errors(repo: str, kind: RepoKind, what: str) -> Iterator[None]:
    """Raise whatever goes wrong at the hub as a `HubError` that names what to do.

    Args:
        repo: The repository that is asked for.
        kind: What it holds.
        what: What is tried, as in `me/leaves cannot be WHAT`.
    """
    try:
        yield
    except (CannabisMLError, LookupError, TypeError, AttributeError, AssertionError):
        raise  # errors of ours
    except Exception as error:  # of the hub, of HTTP, of the network, of the cache
        raise HubError(f"{repo} cannot be {what}: {_reason(error, repo, kind)}") from error


def _reason(error: Exception, repo: str, kind: RepoKind) -> str:
    from huggingface_hub import constants, errors

    here = constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated. Ask for access at {here}/{repo}, then run: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        holds = "data set" if kind == "dataset" else "model"
        return (
            f"{here} has no {holds} '{repo}', or does not show it to you.\nCheck the id"
            " (OWNER/NAME); for a private one run `hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"there is no such revision.\nLook at {here}/{repo}, or list its versions."
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return (
            "it is not on this machine yet, and the hub was not asked or not reached.\nUnset"
            " HF_HUB_OFFLINE for the first time; later ones need no network. A mirror: set"
            " HF_ENDPOINT."
        )
    if status in (401, 403):
        return (
            f"{here} does not allow it (HTTP {status}).\nGive a token that may write there:"
            " `hf auth login`, or HF_TOKEN."
        )
    return (
        f"{type(error).__name__}: {one_line(error)}\nIf the connection to {here} broke, run the"
        " same command again: what was transferred stays."
    )


def tags_of(repo: str, kind: RepoKind) -> dict[str, str]:
    """Tags of a repository and their commits, as the hub has them now.

    Raises:
        HubError: If the hub does not give them.
    """
    api = hub_api()
    with hub_errors(repo, kind, "asked for its versions"):
        refs = api.list_repo_refs(repo, repo_type=kind)
    return {tag.name: tag.target_commit for tag in refs.tags}


def cache_folder(repo: str, kind: RepoKind, cache: Path | None = None) -> Path:
    """The folder of a repository in the hub's cache.

    Args:
        repo: Its id.
        kind: What it holds.
        cache: The cache; None takes that of HF_HOME or HF_HUB_CACHE.
    """
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) if cache is None else cache
    return root / f"{kind}s--{repo.replace('/', '--')}"


def pins_of(folder: Path) -> dict[str, str]:
    """Versions that were loaded before, and their commits; empty where none was."""
    try:
        pins = json.loads((folder / PINS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(commit) for name, commit in pins.items()}


def _note(folder: Path, name: str, commit: str) -> None:
    pins = pins_of(folder) | {name: commit}
    with written_aside(folder / PINS) as aside:
        aside.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def pinned_commit(
    repo: str, kind: RepoKind, version: str = LATEST, cache: Path | None = None
) -> tuple[Version | None, str]:
    """The commit that a version stands for, asked of the hub once and noted in the cache.

    Args:
        repo: Id on the hub.
        kind: What it holds.
        version: Such as `1.2.0`; a commit, 40 hex digits; or `latest`, the highest version, which
            the hub is asked for every time unless HF_HUB_OFFLINE is set: then it is the highest
            that was loaded before.
        cache: As for `cache_folder`.

    Returns:
        The version, None where a commit was given; and the commit.

    Raises:
        HubError: If there is no such version, or it is not known here and the hub is not reached.
    """
    if is_commit(version):
        return None, version
    wanted = version_of(version)
    if wanted is None and version != LATEST:
        raise HubError(
            f"'{version}' is not a version of {repo}.\nWrite three numbers, such as 1.2.0;"
            f" '{LATEST}' for the highest; or a commit, 40 hex digits."
        )
    hub_api()
    folder = cache_folder(repo, kind, cache)
    known = pins_of(folder)
    if wanted is not None and str(wanted) in known:
        return wanted, known[str(wanted)]
    tags = known if _is_offline() else tags_of(repo, kind)
    found = highest(tags) if wanted is None else _tagged(tags, wanted)
    if found is None:
        raise HubError(_no_version(repo, wanted, tags))
    commit = known.get(str(found.version), found.commit)
    _note(folder, str(found.version), commit)
    return found.version, commit


def moving_commit(repo: str, kind: RepoKind, revision: str, cache: Path | None = None) -> str:
    """The commit where a branch or another tag stands now; with HF_HUB_OFFLINE, stood last.

    Args:
        repo: Id on the hub.
        kind: What it holds.
        revision: Name of the branch or tag.
        cache: As for `cache_folder`.

    Raises:
        HubError: If the hub does not know it, or is not reached.
    """
    api = hub_api()
    folder = cache_folder(repo, kind, cache)
    known = pins_of(folder)
    if _is_offline() and revision in known:
        return known[revision]
    with hub_errors(repo, kind, f"asked for revision '{revision}'"):
        commit = str(api.repo_info(repo, revision=revision, repo_type=kind).sha)
    _note(folder, revision, commit)
    return commit


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _tagged(tags: Mapping[str, str], version: Version) -> Tagged | None:
    commit = commit_of_version(tags, version)
    return None if commit is None else Tagged(version, commit)


def _no_version(repo: str, wanted: Version | None, tags: Iterable[str]) -> str:
    there = sorted((v for tag in tags if (v := version_of(tag))), reverse=True)
    has = f"it has {', '.join(map(str, there[:8]))}" if there else "it has none"
    what = "no version" if wanted is None else f"no version {wanted}"
    if _is_offline():
        return (
            f"There is {what} of {repo} on this machine ({has}), and HF_HUB_OFFLINE forbids to ask"
            " the hub.\nUnset it for the first time; later ones need no network."
        )
    return f"{repo} has {what}: {has}.\nPublish it with: cannabis_ml publish … --version 1.0.0"
