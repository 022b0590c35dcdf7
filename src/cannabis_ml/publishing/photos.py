"""Photos on the hub: a photo set as a version of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from cannabis_ml.errors import PublishingError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photo_sets.published import (
    CREDIT,
    GROUP,
    PUBLICATION,
    PhotosPublication,
    PublishedSplit,
)
from cannabis_ml.publishing.data_card import DataFacts, check_report, render
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
from cannabis_ml.publishing.licences import refuse_unlicensed
from cannabis_ml.publishing.params import PublishingParams
from cannabis_ml.publishing.photo_shards import PublishedPhotos
from cannabis_ml.publishing.rights import rights_of
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = "taxonomy.json"


@dataclass(frozen=True)
class Ingested:
    """What ingestion left, all of one run.

    Attributes:
        photo_set: The photos.
        photos: The table of them, with source and licence.
        report: The report of ingestion.
        taxonomy: The heads.
        about: Where the photos come from, in words.
    """

    photo_set: PhotoSet
    photos: pd.DataFrame
    report: Mapping[str, Any]
    taxonomy: Taxonomy
    about: str


class PhotosToPublish:
    """Photos that may be published, with their card; nothing was uploaded yet.

    Args:
        ingested: The photos.
        params: Which licences may be published.
        target: Where they go.

    Raises:
        PublishingError: If a licence does not allow it, or photos, report and table are of
            different runs.
    """

    def __init__(self, ingested: Ingested, params: PublishingParams, target: Target) -> None:
        ids = ingested.photo_set.labels("photo_id")["photo_id"].astype(str)
        if not len(ids):
            raise PublishingError("The photo set is empty: run kedro run --pipeline=ingestion")
        rights = rights_of(ingested.photos, params.licences).of(list(ids))
        refuse_unlicensed(rights.pairs(), params.allowed_licences)
        self.photos = PublishedPhotos(ingested.photo_set, ingested.taxonomy, rights)
        check_report(ingested.report, self.photos)
        named = rights.table[CREDIT].nunique()
        facts = DataFacts(
            target.repo, str(target.version), ingested.about, rights.counts, int(named)
        )
        self.card = render(ingested.report, self.photos, facts)
        self.licences = rights.counts
        self.target = target

    def publication(self, files: Mapping[str, str]) -> PhotosPublication:
        """The content of `publication.json`, given the SHA-256 of every file by its path."""
        return PhotosPublication(
            version=str(self.target.version),
            fingerprint=self.photos.photo_set.fingerprint,
            taxonomy_sha256=self.photos.taxonomy.sha256,
            card_sha256=hashlib.sha256(self.card.encode()).hexdigest(),
            licences=self.licences,
            group_column=GROUP,
            label_columns=self.photos.label_columns,
            splits={
                str(split): PublishedSplit(
                    photos=len(self.photos.rows_of(split)),
                    rows_sha256=self.photos.digests[split].hexdigest(),
                )
                for split in SPLITS
                if len(self.photos.rows_of(split))
            },
            files=dict(files),
        )

    def files(self, shown: Callable[[str], object]) -> Iterator[HubFile]:
        """Every file of the version, Parquet files first, each made when it is asked for."""
        files: dict[str, str] = {}
        for shard in self.photos.shards():
            files[shard.name] = shard.sha256
            shown(f"  {shard.name}: {shard.rows:,} photos, {len(shard.data) / 1e6:,.1f} MB")
            yield HubFile(shard.name, shard.data)
        yield HubFile(CARD, self.card.encode())
        yield HubFile(TAXONOMY, as_json(self.photos.taxonomy.model_dump(mode="json")))
        publication = self.publication(files)
        yield HubFile(PUBLICATION, as_json(publication.model_dump(mode="json")))


def publish_photos(
    to_publish: PhotosToPublish, shown: Callable[[str], object] = lambda _: None
) -> Published:
    """Publish photos as a version of a data set.

    Args:
        to_publish: The photos, and where they go.
        shown: Is given a line per file.

    Raises:
        HubError: If the hub does not take them; running it again goes on from there.
        PublishingError: If the version is there with other photos, and as `publish`.
    """
    target = to_publish.target
    commit = published_commit(target)
    if commit is not None:
        refuse_another(target, commit, to_publish.publication({}))
        return Published(commit, was_there=True)
    message = f"{target.version}: {len(to_publish.photos.photo_set):,} photos"
    return Published(publish(target, to_publish.files(shown), message))


def refuse_another(target: Target, commit: str, ours: PhotosPublication) -> None:
    """End where a version is published already and holds other photos.

    Raises:
        PublishingError: Says so; the version stays as it is.
    """
    there = published_file(target.repo, target.kind, commit, PUBLICATION)
    try:
        same = there is not None and ours.is_same(PhotosPublication.model_validate_json(there))
    except ValidationError:
        same = False
    if not same:
        raise PublishingError(
            f"{target} is published already, at commit {commit[:12]}, with another content: a"
            " version is never replaced.\nPublish under the next version."
        )
