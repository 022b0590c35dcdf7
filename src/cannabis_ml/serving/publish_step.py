"""Publishing as the first step of a deployment: the service pulls the tag that everybody gets."""

from __future__ import annotations

import argparse

from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.sources import from_hub

ALLOW = "Or allow a licence here: --allow-licence cc-by-nc-4.0."


def publish_and_pull(bundle: Bundle, options: argparse.Namespace) -> tuple[Bundle, list[str]]:
    """Publish a bundle and load the version from the hub; in a dry run, see what would be done.

    Args:
        bundle: Its files agree with their hashes.
        options: `publish`, `version`, `photos`, `public`, `allow_licence` and `dry_run`, as typed.

    Returns:
        The bundle as the hub gives it, in a dry run the one that was given; and a line per step.

    Raises:
        DeploymentError: If the hub gives another bundle than was published.
        HubError: As `publish_bundle`.
        PublishingError: As `publish_bundle` and `refuse_unlicensed_golden`.
    """
    # What they need is in the extra `hub`, which a service does without.
    from cannabis_ml.publishing.bundles import (
        BundleToPublish,
        photos_named,
        publish_bundle,
        refuse_unlicensed_golden,
    )
    from cannabis_ml.publishing.hub_commit import Target, published_commit
    from cannabis_ml.publishing.params import PublishingParams

    allowed = (*PublishingParams().allowed_licences, *options.allow_licence)
    refuse_unlicensed_golden(bundle, PublishingParams(allowed_licences=allowed), ALLOW)
    target = Target(options.publish, "model", options.version, options.public)
    manifest = bundle.manifest
    photos = options.photos and photos_named(options.photos, manifest.photo_set_fingerprint)
    ready = BundleToPublish(bundle, target, photos or None)
    size = f"{len(manifest.files) + 3:,} files, {ready.bytes / 1e6:,.1f} MB of models"
    if options.dry_run:
        commit = published_commit(target)
        there = "" if commit is None else f", which is there already, at commit {commit[:12]}"
        compared = f"compare it with bundle {manifest.content_sha256[:12]}"
        return bundle, [
            _printed(f"would publish {target}{there}: {size}"),
            _printed(f"would pull {target} from the hub, and {compared}"),
        ]
    done = publish_bundle(ready)
    verb = "published before, with the same content" if done.was_there else "published"
    steps = [_printed(f"{verb}: {target}, {size}")]
    pulled, origin = from_hub(target.repo, str(target.version))
    if pulled.manifest.content_sha256 != manifest.content_sha256:
        raise DeploymentError(
            f"{origin} gives bundle {pulled.manifest.content_sha256[:12]}, and"
            f" {manifest.content_sha256[:12]} was published: nothing is deployed."
        )
    return pulled, [*steps, _printed(f"pulled {origin}")]


def _printed(step: str) -> str:
    """A step, printed as soon as it is known."""
    print(step, flush=True)
    return step
