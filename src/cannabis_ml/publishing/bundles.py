"""Bundles on the hub: a bundle as a version of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from cannabis_ml._io.hub import (
    LATEST,
    commit_of_version,
    highest,
    is_commit,
    tags_of,
    version_of,
)
from cannabis_ml.errors import PublishingError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden_rights import UNKNOWN
from cannabis_ml.inference.hub import FOLDER, PUBLICATION, BundlePublication, PhotosOfBundle
from cannabis_ml.inference.manifest import MANIFEST
from cannabis_ml.publishing.hub_commit import (
    CARD,
    HubFile,
    Published,
    Target,
    as_json,
    publish,
    published_commit,
    published_file,
)
from cannabis_ml.publishing.licences import IN_THE_PROJECT, refuse_unlicensed
from cannabis_ml.publishing.model_card import hub_card
from cannabis_ml.publishing.params import PublishingParams


class BundleToPublish:
    """A bundle with its card on the hub; nothing was uploaded yet.

    Args:
        bundle: Its files agree with their hashes.
        target: Where it goes.
        photos: The published photos that it learned from; None: they are not published.

    Raises:
        PublishingError: As `hub_card`.
    """

    def __init__(self, bundle: Bundle, target: Target, photos: PhotosOfBundle | None) -> None:
        self.bundle = bundle
        self.target = target
        self.photos = photos
        self.card = hub_card(bundle, target, photos)

    @property
    def publication(self) -> BundlePublication:
        """The content of `publication.json`."""
        manifest = self.bundle.manifest
        return BundlePublication(
            version=str(self.target.version),
            bundle_id=manifest.content_sha256,
            photos=self.photos,
            photo_set_fingerprint=manifest.photo_set_fingerprint,
        )

    @property
    def bytes(self) -> int:
        """Size of the model files, the largest part of it."""
        tiers = self.bundle.manifest.tiers.values()
        return sum(file.bytes for tier in tiers for file in tier.all.values())

    def files(self, shown: Callable[[str], object]) -> Iterator[HubFile]:
        """Every file of the version, each read and checked when it is asked for."""
        for name in self.bundle.manifest.files:
            data = self.bundle.read(name)
            if len(data) > 1e6:
                shown(f"  {FOLDER}/{name}: {len(data) / 1e6:,.1f} MB")
            yield HubFile(f"{FOLDER}/{name}", data)
        yield HubFile(f"{FOLDER}/{MANIFEST}", self.bundle.manifest_bytes())
        yield HubFile(CARD, self.card.encode())
        yield HubFile(PUBLICATION, as_json(self.publication.model_dump(mode="json")))


def publish_bundle(
    to_publish: BundleToPublish, shown: Callable[[str], object] = lambda _: None
) -> Published:
    """Publish a bundle as a version of a model.

    Args:
        to_publish: The bundle, and where it goes.
        shown: Is given a line per large file.

    Raises:
        HubError: If the hub does not take it; running it again goes on from there.
        PublishingError: If the version is there with another bundle, and as `publish`.
    """
    target = to_publish.target
    commit = published_commit(target)
    if commit is not None:
        there = published_file(target.repo, target.kind, commit, PUBLICATION)
        if there is None or not _is_same(there, to_publish.publication):
            raise PublishingError(
                f"{target} is published already, at commit {commit[:12]}, with another bundle or"
                " other photos: a version is never replaced.\nPublish under the next version."
            )
        return Published(commit, was_there=True)
    message = f"{target.version}: {to_publish.bundle.manifest.content_sha256[:12]}"
    return Published(publish(target, to_publish.files(shown), message))


def refuse_unlicensed_golden(
    bundle: Bundle, params: PublishingParams, place: str = IN_THE_PROJECT
) -> None:
    """End where a licence does not allow to publish a golden photo.

    Args:
        bundle: Its golden photos are published with it.
        params: Licences that are allowed, and those of sources where none was known.
        place: Where more are allowed, for the message.

    Raises:
        PublishingError: As `refuse_unlicensed`; also if the bundle does not tell licences.
    """
    rights = bundle.golden_rights()
    if rights is None:
        raise PublishingError(
            f"{bundle.path} does not tell under which licences its golden photos are, and they are"
            " published with it.\nMake the bundle anew: kedro run --pipeline=bundle"
        )
    found = (
        (params.licences.get(p.source, UNKNOWN) if p.licence == UNKNOWN else p.licence, p.source)
        for p in rights
    )
    refuse_unlicensed(found, params.allowed_licences, "golden photos", place)


def photos_named(name: str, fingerprint: str | None) -> PhotosOfBundle:
    """Published photos that a bundle learned from.

    Args:
        name: `OWNER/NAME` for the version that has the fingerprint, or `OWNER/NAME@VERSION`, where
            the version may also be `latest` or a commit.
        fingerprint: Of the photo set that the bundle was trained on.

    Raises:
        HubError: If the hub does not give them.
        PublishingError: If they have another fingerprint: the bundle learned from other photos.
    """
    repo, _, asked = name.partition("@")
    tags = tags_of(repo, "dataset")
    versions = {str(v): commit for tag, commit in tags.items() if (v := version_of(tag))}
    if asked == LATEST and (found := highest(tags)):
        asked = str(found.version)
    wanted = version_of(asked)
    if wanted is not None:
        commit = commit_of_version(tags, wanted)
        versions = {} if commit is None else {str(wanted): commit}
    elif is_commit(asked):
        named = [v for v, commit in versions.items() if commit == asked]
        versions = {named[0] if named else "": asked}
    elif asked:
        raise PublishingError(f"'{asked}' is not a version of {repo}: write {repo}@1.2.0.")
    for version, commit in sorted(versions.items(), reverse=True):
        if fingerprint and _fingerprint(repo, commit) == fingerprint:
            return PhotosOfBundle(repo=repo, commit=commit, version=version or None)
    raise PublishingError(
        f"The bundle was trained on the photo set {(fingerprint or 'unknown')[:12]}, and"
        f" {name} has another: {', '.join(versions) or 'no version'}.\nPublish the photos first, or"
        " name the version that they are; without --photos its scores are tied to no data set."
    )


def photos_at(repo: str, commit: str) -> PhotosOfBundle:
    """Published photos at a commit, with the version that it is tagged as.

    Raises:
        HubError: If the hub does not give its versions.
    """
    tags = tags_of(repo, "dataset")
    named = [str(v) for tag, at in tags.items() if at == commit and (v := version_of(tag))]
    return PhotosOfBundle(repo=repo, commit=commit, version=next(iter(named), None))


def _fingerprint(repo: str, commit: str) -> str | None:
    from cannabis_ml.photo_sets.published import PhotosPublication  # needs pandas

    publication = published_file(repo, "dataset", commit, PUBLICATION)
    if publication is None:
        return None
    try:
        return PhotosPublication.model_validate_json(publication).fingerprint
    except ValidationError:
        return None


def _is_same(there: bytes, ours: BundlePublication) -> bool:
    try:
        return BundlePublication.model_validate_json(there) == ours
    except ValidationError:
        return False
