"""Files to the Hugging Face hub as one commit and one tag.

A repository either has a version whole or does not have it: large files are uploaded first, then
one commit adds all of them and removes what is not in the version, and a tag names it. Whatever was
uploaded when a process was killed is not uploaded again. No tag is moved, no version replaced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cannabis_ml._io.hub import RepoKind, Version, commit_of_version, hub_api, hub_errors, tags_of
from cannabis_ml.errors import PublishingError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

logger = logging.getLogger(__name__)

BATCH_BYTES = 64 << 20
"""Files that are announced to the hub together, unless one alone is larger."""

BATCH_FILES = 100

KEPT = (".gitattributes", ".gitignore")
"""Files of the hub's own, which a version neither brings nor removes."""


CARD = "README.md"
"""What the hub shows of a repository."""


@dataclass(frozen=True)
class Published:
    """What came of publishing.

    Attributes:
        commit: 40 hex digits.
        was_there: Whether the version was published before, with the same content.
    """

    commit: str
    was_there: bool = False


class HubFile(NamedTuple):
    """A file of a version."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Target:
    """Where a version goes.

    Attributes:
        repo: Id on the hub, OWNER/NAME.
        kind: What the repository holds.
        version: What it is tagged as.
        public: Whether everybody may see the repository.
    """

    repo: str
    kind: RepoKind
    version: Version
    public: bool = False

    def __str__(self) -> str:
        return f"{self.repo} {self.version}"


def published_commit(target: Target) -> str | None:
    """The commit of a version that is published already; None where it is not.

    Raises:
        HubError: If the hub cannot be asked.
    """
    api = hub_api()
    with hub_errors(target.repo, target.kind, "looked for"):
        if not api.repo_exists(target.repo, repo_type=target.kind):
            return None
    return commit_of_version(tags_of(target.repo, target.kind), target.version)


def published_file(repo: str, kind: RepoKind, commit: str, name: str) -> bytes | None:
    """A small file of a repository at a commit; None where there is none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with hub_errors(repo, kind, f"read at {commit}"):
        try:
            path = hf_hub_download(repo, name, repo_type=kind, revision=commit)
        except EntryNotFoundError:
            return None
    return Path(path).read_bytes()


def publish(target: Target, files: Iterable[HubFile], message: str) -> str:
    """Upload files and make them a version: all that is in the repository then.

    Args:
        target: Where they go; the repository is made where there is none.
        files: Taken one after the other, so that they need not be in memory together.
        message: Of the commit.

    Returns:
        The commit.

    Raises:
        HubError: If the hub does not take it; running it again goes on from there.
        PublishingError: If the repository is public and the target is not, if somebody else
            published meanwhile, or if the version is there already.
    """
    api = hub_api()
    with hub_errors(target.repo, target.kind, "made"):
        api.create_repo(
            target.repo, repo_type=target.kind, private=not target.public, exist_ok=True
        )
    with hub_errors(target.repo, target.kind, f"published as {target.version}"):
        info = api.repo_info(target.repo, repo_type=target.kind)
        if not info.private and not target.public:
            raise PublishingError(
                f"{target.repo} is public, and publishing is private unless it is asked for:"
                " everybody would see this version.\nAdd --public, make the repository private, or"
                " name another."
            )
        head = str(info.sha)
        there = api.list_repo_files(target.repo, repo_type=target.kind, revision=head)
        additions = list(_uploaded(api, target, files))
        stale = sorted(set(there) - {one.path_in_repo for one in additions} - set(KEPT))
        commit = _commit(api, target, [*additions, *_deletions(stale)], message, head)
        _tag(api, target, commit)
    return commit


def as_json(content: object) -> bytes:
    """JSON for people and machines: the same content, the same bytes."""
    return f"{json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)}\n".encode()


def _uploaded(api: HfApi, target: Target, files: Iterable[HubFile]) -> Iterator[CommitOperationAdd]:
    """Upload what is large; the content of what was uploaded is let go."""
    from huggingface_hub import CommitOperationAdd

    for batch in _batches(files):
        additions = [CommitOperationAdd(file.name, file.data) for file in batch]
        api.preupload_lfs_files(target.repo, additions, repo_type=target.kind)
        size = sum(len(file.data) for file in batch)
        logger.info("%s: %d files are there, %.1f MB", target, len(batch), size / 1e6)
        yield from additions


def _batches(files: Iterable[HubFile]) -> Iterator[list[HubFile]]:
    batch: list[HubFile] = []
    for file in files:
        full = sum(len(one.data) for one in batch) + len(file.data) > BATCH_BYTES
        if batch and (full or len(batch) == BATCH_FILES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _deletions(names: Iterable[str]) -> list[CommitOperationDelete]:
    from huggingface_hub import CommitOperationDelete

    return [CommitOperationDelete(name, is_folder=False) for name in names]


def _commit(
    api: HfApi,
    target: Target,
    operations: list[CommitOperationAdd | CommitOperationDelete],
    message: str,
    parent: str,
) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        done = api.create_commit(
            target.repo,
            operations,
            commit_message=message,
            repo_type=target.kind,
            parent_commit=parent,
        )
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 412:
            raise PublishingError(
                f"Somebody else changed {target.repo} meanwhile: nothing was published.\nLook at it"
                " and run the same command again; what was uploaded stays."
            ) from error
        raise
    return str(done.oid)


def _tag(api: HfApi, target: Target, commit: str) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_tag(target.repo, tag=str(target.version), revision=commit, repo_type=target.kind)
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 409:
            raise
        tags = tags_of(target.repo, target.kind)
        if commit_of_version(tags, target.version) != commit:
            raise PublishingError(
                f"Somebody else published {target} meanwhile, with another content: theirs stays."
                "\nPublish under the next version."
            ) from error
