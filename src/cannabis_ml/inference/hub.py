"""Bundles of the Hugging Face hub: a version is loaded at one commit, checked and kept.

    OWNER/NAME at a commit
    README.md           the model card on the hub
    publication.json    which bundle of which version this is, and what photos it learned from
    bundle/             the bundle as it was made

A repository that holds a bundle's files themselves, without the folder, is read too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.hub import Version, hub_api, hub_errors, pinned_commit
from cannabis_ml.errors import BundleError, HubError
from cannabis_ml.inference.archive import open_archive
from cannabis_ml.inference.bundle_reading import damaged_files, read_manifest
from cannabis_ml.inference.manifest import MANIFEST, SHA256

FOLDER = "bundle"
"""Where the bundle lies in its repository."""

PUBLICATION = "publication.json"

Opened = TypeVar("Opened")


class PhotosOfBundle(BaseModel):
    """Published photos that a bundle was trained on."""

    model_config = ConfigDict(frozen=True)  # a newer version may have more

    repo: str = Field(description="The data set on the hub, OWNER/NAME")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    version: str | None = Field(default=None, description="Its tag, where it has one")


class BundlePublication(BaseModel):
    """`publication.json` of a published bundle."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(default="bundle", pattern="^bundle$")
    version: str = Field(description="As it is tagged, such as 1.2.0")
    bundle_id: str = Field(pattern=SHA256, description="`content_sha256` of its manifest")
    photos: PhotosOfBundle | None = Field(default=None, description="None: not published")
    photo_set_fingerprint: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a bundle was loaded from.

    Attributes:
        repo: Id on the hub.
        version: None where a commit or a branch was asked for.
        commit: 40 hex digits.
    """

    repo: str
    version: Version | None
    commit: str

    def __str__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return f"{self.repo}{version} at commit {self.commit[:12]}"


def fetch_bundle(
    repo: str, version: str, opened: Callable[[Path], Opened], cache: Path | None = None
) -> tuple[Opened, Origin]:
    """Load a version of a bundle: from the cache, else from the hub.

    Args:
        repo: Id on the hub, OWNER/NAME.
        version: As for `pinned_commit`.
        opened: Opens a bundle's folder and checks every file, such as `Bundle.open`.
        cache: As for `cache_folder`.

    Raises:
        HubError: If the hub does not give it, or the version is of another bundle.
        BundleError: If what came is not the bundle that was published.
    """
    number, commit = pinned_commit(repo, "model", version, cache)
    return fetch_commit(Origin(repo, number, commit), opened, cache), Origin(repo, number, commit)


def fetch_commit(
    origin: Origin, opened: Callable[[Path], Opened], cache: Path | None = None
) -> Opened:
    """Load a bundle at a commit: from the cache without asking the hub, else from the hub.

    What the cache holds of it is completed where a download broke off. Files of the cache that are
    not what the bundle lists are brought anew once; if they still differ, they are not kept.

    Args:
        origin: Where it is.
        opened: As for `fetch_bundle`.
        cache: As for `fetch_bundle`.
    """
    hub_api()
    damage: BundleError | None = None
    folder = _cached(origin, cache)
    if folder is not None:
        try:
            return opened(_checked(folder, origin))
        except BundleError as error:
            damage = error
            _forget_damaged(folder)
    try:
        folder = _downloaded(origin, cache)
    except HubError as error:
        if damage is None:
            raise
        raise BundleError(f"{damage}\nIt was not replaced: {error}") from error
    try:
        return opened(_checked(folder, origin))
    except BundleError:
        _forget_damaged(folder)
        raise


def _downloaded(origin: Origin, cache: Path | None) -> Path:
    with hub_errors(origin.repo, "model", f"loaded at {origin.version or origin.commit}"):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(origin.repo, revision=origin.commit, cache_dir=cache))


def _cached(origin: Origin, cache: Path | None) -> Path | None:
    """The files of a commit that are on this machine, perhaps not all of them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                origin.repo, revision=origin.commit, cache_dir=cache, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None


def _checked(snapshot: Path, origin: Origin) -> Path:
    """The folder of the bundle, once it is the one that was published under this version."""
    folder = _bundle_in(snapshot)
    file = snapshot / PUBLICATION
    if not file.is_file():
        return folder
    try:
        published = BundlePublication.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise BundleError(f"{origin}: {PUBLICATION} is not that of a bundle: {error}") from error
    if origin.version is not None and published.version != str(origin.version):
        raise HubError(
            f"{origin} was published as version {published.version}: somebody moved the tag.\nLoad"
            f" {published.version}, or ask who owns {origin.repo}."
        )
    found = read_manifest(open_archive(folder)).content_sha256
    if found != published.bundle_id:
        raise BundleError(
            f"{origin} holds the bundle {found[:12]}; {published.bundle_id[:12]} was published."
        )
    return folder


def _bundle_in(snapshot: Path) -> Path:
    folder = snapshot / FOLDER
    return (
        folder if (folder / MANIFEST).exists() or not (snapshot / MANIFEST).exists() else snapshot
    )


def _forget_damaged(snapshot: Path) -> None:
    """Remove files of the cache that are not what the bundle lists; links and what they lead to."""
    folder = _bundle_in(snapshot)
    try:
        damaged: Iterable[Path] = [folder / name for name in damaged_files(folder)]
    except BundleError:  # the manifest itself
        damaged = [folder / MANIFEST, snapshot / PUBLICATION]
    for path in damaged:
        held = path.resolve()
        path.unlink(missing_ok=True)
        held.unlink(missing_ok=True)
