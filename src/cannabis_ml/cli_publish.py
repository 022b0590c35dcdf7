"""`cannabis_ml publish`: versions of photos and bundles on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cannabis_ml._io.hub import REPO, RepoKind, version_of
from cannabis_ml.cli_champion import project

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.hub import PhotosOfBundle
    from cannabis_ml.publishing.hub_commit import Target
    from cannabis_ml.publishing.params import PublishingParams
    from cannabis_ml.publishing.photos import Ingested


def _checked_repo(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if re.fullmatch(REPO, value) is None:
        raise click.BadParameter(f"'{value}' is not an id on the hub: write OWNER/NAME.")
    return value


def _checked_version(ctx: click.Context, option: click.Parameter, value: str) -> str:
    version = version_of(value)
    if version is None:
        raise click.BadParameter(f"'{value}' is not a version: write three numbers, such as 1.2.0.")
    return str(version)


_repo = click.option(
    "--repo", required=True, callback=_checked_repo, metavar="OWNER/NAME", help="Where it goes."
)
_version = click.option(
    "--version",
    required=True,
    callback=_checked_version,
    metavar="1.2.0",
    help="What it is tagged as; a version is never replaced.",
)
_public = click.option(
    "--public", is_flag=True, help="Let everybody see the repository; else it is private."
)
_env = click.option("--env", "-e", default=None, help="The environment whose data is published.")
_dry_run = click.option("--dry-run", is_flag=True, help="Check everything, upload nothing.")


@click.group(name="publish")
def publish() -> None:
    """Publish photos or a bundle on the Hugging Face hub, as one commit and one tag.

    After an upload that broke off, the same command goes on from there.
    """


@publish.command(name="photos")
@_repo
@_version
@_public
@_dry_run
@_env
def publish_photos_command(
    repo: str, version: str, public: bool, dry_run: bool, env: str | None
) -> None:
    """Publish the newest photo set: Parquet with splits, groups and labels, and a data card.

    Photos whose licence publishing.allowed_licences does not list are refused.
    """
    with project(env) as context:
        from cannabis_ml.publishing.photos import PhotosToPublish, publish_photos

        target = _target(repo, "dataset", version, public)
        ready = PhotosToPublish(_ingested(context), _params(context), target)
        photos = ready.photos
        click.echo(
            f"{len(photos.photo_set):,} photos ({int(photos.stored_bytes().sum()) / 1e6:,.1f} MB):"
            f" {', '.join(f'{n:,} {name}' for name, n in ready.licences.items())}"
        )
        if dry_run:
            click.echo(f"Dry run: nothing was uploaded. The card would be:\n\n{ready.card}")
            return
        done = publish_photos(ready, click.echo)
        click.echo(_published(target, done.commit, done.was_there))
        click.echo(
            "As a source of ingestion (catalog_ingestion.yml):\n"
            f"  source: {{kind: hub, path: data/01_raw/hub, repo: {repo}, revision: {done.commit}}}"
        )


@publish.command(name="bundle")
@_repo
@_version
@click.option(
    "--bundle",
    "path",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="A bundle, folder or .zip; without it, the newest of the catalog.",
)
@click.option(
    "--photos",
    "photos_name",
    default=None,
    metavar="OWNER/NAME[@VERSION]",
    help="Published photos that it was trained on, to which its scores are tied.",
)
@_public
@_dry_run
@_env
def publish_bundle_command(
    repo: str,
    version: str,
    path: Path | None,
    photos_name: str | None,
    public: bool,
    dry_run: bool,
    env: str | None,
) -> None:
    """Publish a bundle: its files as they are, a model card, and scores tied to the data's commit.

    Its golden photos are published with it: their licences must allow it.
    """
    with project(env) as context:
        from cannabis_ml.inference.bundle import Bundle
        from cannabis_ml.publishing.bundles import (
            BundleToPublish,
            publish_bundle,
            refuse_unlicensed_golden,
        )

        bundle: Bundle = context.catalog.load("bundle") if path is None else Bundle.open(path)
        refuse_unlicensed_golden(bundle, _params(context))
        here = _trained_here(context, bundle)
        target = _target(repo, "model", version, public)
        ready = BundleToPublish(bundle, target, _photos_of(context, bundle, photos_name, here))
        click.echo(
            f"bundle {bundle.manifest.content_sha256[:12]}, {', '.join(bundle.tiers)}:"
            f" {len(bundle.manifest.files):,} files, {ready.bytes / 1e6:,.1f} MB of models"
        )
        if ready.photos is not None:
            click.echo(f"trained on {ready.photos.repo} at commit {ready.photos.commit}")
        if dry_run:
            click.echo(f"Dry run: nothing was uploaded. The card would be:\n\n{ready.card}")
            return
        done = publish_bundle(ready, click.echo)
        click.echo(_published(target, done.commit, done.was_there))
        click.echo(f'Load it: Bundle.from_hub("{repo}", version="{version}")')


def _target(repo: str, kind: RepoKind, version: str, public: bool) -> Target:
    from cannabis_ml.publishing.hub_commit import Target

    number = version_of(version)
    assert number is not None  # checked when it was typed
    return Target(repo, kind, number, public)


def _published(target: Target, commit: str, was_there: bool) -> str:
    where = f"{target.repo} as {target.version}, at commit {commit}"
    return (
        f"Published before, with the same content: {where}" if was_there else f"Published {where}"
    )


def _ingested(context: KedroContext) -> Ingested:
    from cannabis_ml.publishing.photos import Ingested

    load = context.catalog.load
    return Ingested(
        photo_set=load("photo_set"),
        photos=load("photos"),
        report=load("ingestion_report"),
        taxonomy=load("taxonomy"),
        about=load("params:bundle.photos"),
    )


def _params(context: KedroContext) -> PublishingParams:
    from pydantic import ValidationError

    from cannabis_ml.errors import ConfigError
    from cannabis_ml.publishing.params import PublishingParams

    try:
        return PublishingParams.model_validate(context.catalog.load("params:publishing"))
    except ValidationError as error:
        raise ConfigError(f"Parameters under `publishing` are not valid: {error}") from error


def _trained_here(context: KedroContext, bundle: Bundle) -> bool:
    """Whether a bundle was trained on the newest photo set of this project."""
    wanted = bundle.manifest.photo_set_fingerprint
    if wanted is None or not context.catalog.exists("photo_set"):
        return False
    return bool(context.catalog.load("photo_set").fingerprint == wanted)


def _photos_of(
    context: KedroContext, bundle: Bundle, name: str | None, trained_here: bool
) -> PhotosOfBundle | None:
    """The published photos that a bundle learned from: named, or the source of this project."""
    from cannabis_ml.datasets.source_photos import SourcePhotosDataset
    from cannabis_ml.publishing.bundles import photos_at, photos_named

    source = context.catalog.get("source_photos")
    if trained_here and isinstance(source, SourcePhotosDataset) and source.hub_commit:
        photos = photos_at(*source.hub_commit)
        if name in (None, photos.repo, f"{photos.repo}@{photos.version or photos.commit}"):
            return photos
    return photos_named(name, bundle.manifest.photo_set_fingerprint) if name else None
