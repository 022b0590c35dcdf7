"""Source of kind `inaturalist`: photos annotated in one JSON file."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import (
    GroupedSource,
    NameMap,
    Text,
    as_text,
    columns_by_name,
    labels_of_name,
    some,
    source_frame,
)
from cannabis_ml.photo_sets.sources.listed_photos import find_photos
from cannabis_ml.photo_sets.sources.split_names import warn_of_unlisted_splits
from cannabis_ml.photo_sets.sources.table import merged_groups
from cannabis_ml.splits import Split
from cannabis_ml.text import Name, NormalNames, counted, normal, one_line

logger = logging.getLogger(__name__)

_OBSERVATION = ("rights_holder", "date", "latitude", "longitude")
_KEPT = ("license", "rights_holder")


class INaturalistSource(GroupedSource):
    """The annotations of an iNaturalist competition (2017 to 2021, mini too), or COCO's form.

    `path` is the JSON file with `images` (id, file_name), `categories` (id, name, supercategory;
    in 2021 also kingdom … genus and common_name) and `annotations` (image_id, category_id).
    Training and validation files are two sources, each with its `given_split`.

    Photos of one observation (same person, date and place, which the 2021 files give) share a
    split. A photo that is listed and not there stays in the list, and is set aside as missing
    later. Licence and rights holder stand in `source_photos` where the file has them.
    """

    kind: Literal["inaturalist"]
    photos_root: Text | None = Field(
        default=None, description="What file names start from; null: the JSON file's own folder"
    )
    given_split: Split | None = Field(
        default=None, description="The split that all these photos are given"
    )
    heads: Annotated[dict[Name, str], NormalNames] = Field(
        default={"label": "name"},
        description="Head -> the field of a category that answers it: name, supercategory, and in"
        " 2021 also common_name, genus, family, order, class, phylum, kingdom",
    )
    label_map: NameMap = Field(
        default_factory=dict,
        description="Name of a category -> class, or head -> class, or null (unknown); what it maps"
        " of a head comes before `heads`",
    )
    keep: Literal["all", "mapped"] = Field(
        default="all",
        description="`mapped`: only photos of the categories in label_map, of the thousands there",
    )

    def read(self) -> pd.DataFrame:
        path = self.found_path()
        images, categories, annotations = _read_annotations(path)
        labels = self._labels_of(categories, path)
        named = _categories_of_images(images, categories, annotations)
        kept = [
            (image, of_image)
            for image, of_image in zip(images, named, strict=True)
            if self.keep == "all" or (of_image and set(of_image) <= set(self.label_map))
        ]
        chosen, names = [image for image, _ in kept], [of_image for _, of_image in kept]
        several = {str(image["file_name"]) for image, of_image in kept if len(of_image) > 1}
        if several:
            logger.warning(
                "%s in %s %s of several categories: kept, with what these agree on",
                counted(len(several), "photo"),
                path,
                "is" if len(several) == 1 else "are",
            )
        if not chosen:
            raise SourceError(
                f"{path} has no photo of the categories in label_map: "
                f"{some(repr(name) for name in self.label_map)}.\n"
                "Name categories of that file, or set `keep: all`."
            )
        root = path.parent / Path(self.photos_root or "").expanduser()
        photos = find_photos([str(image["file_name"]) for image in chosen], root, path)
        if not self.given_split:
            warn_of_unlisted_splits(
                [PurePosixPath(photo.name).parts[:-1] for photo in photos],
                path,
                "If they are, set given_split: validation (or what it is) in the source.",
            )
        columns: dict[str, list[Any]] = {
            "path": [photo.path for photo in photos],
            "group": merged_groups(
                [_observation(image) for image in chosen],
                self.groups_by_name([photo.name for photo in photos]),
            ),
            "given_split": [self.given_split] * len(chosen),
        }
        columns |= columns_by_name(names, labels, self.defaults)
        for name in _KEPT:
            if name not in columns and any(name in image for image in chosen):
                columns[name] = [as_text(image.get(name)) for image in chosen]
        return source_frame(columns)

    def exists(self) -> bool:
        return bool(self.path) and Path(str(self.path)).expanduser().is_file()

    def _labels_of(
        self, categories: dict[Any, dict[str, Any]], path: Path
    ) -> dict[str, dict[str, str | None]]:
        lacking = [
            f"'{field}' (head '{head}')"
            for head, field in self.heads.items()
            if not any(field in category for category in categories.values())
        ]
        if lacking:
            fields = sorted({key for category in categories.values() for key in category})
            raise SourceError(
                f"The categories of {path} lack {', '.join(lacking)}; they have "
                f"{some(map(repr, fields))}.\n"
                "Name their fields under `heads` of the source in catalog_ingestion.yml."
            )
        labels: dict[str, dict[str, str | None]] = {}
        for category in categories.values():
            name = category["name"]
            mapped = labels_of_name(name, self.label_map, list(self.heads))
            by_field = {
                head: as_text(category[field])
                for head, field in self.heads.items()
                if as_text(category.get(field))
            }
            labels[name] = by_field | (mapped or {})
        unused = sorted(set(self.label_map) - set(labels))
        if unused:
            logger.warning(
                "label_map names categories that %s does not have: %s", path, some(unused)
            )
        return labels


def _read_annotations(
    path: Path,
) -> tuple[list[dict[str, Any]], dict[Any, dict[str, Any]], list[dict[str, Any]]]:
    """Read images, categories by id, and annotations (none in a test file)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = [{**image, "id": image["id"]} for image in content["images"]]
        licences = {
            one["id"]: one.get("url") or one.get("name") for one in content.get("licenses", [])
        }
        for image in images:
            if image.get("license") in licences:
                image["license"] = licences[image["license"]]
        categories = {c["id"]: {**c, "name": normal(str(c["name"]))} for c in content["categories"]}
        annotations = list(content.get("annotations", []))
        nameless = sum("file_name" not in image for image in images)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read as JSON: {one_line(error)}\nDownload it anew."
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is not an annotations file of iNaturalist's form: it lacks {error}.\n"
            "It needs images (id, file_name), categories (id, name) and annotations (image_id,"
            " category_id)."
        ) from error
    if not images or nameless:
        raise SourceError(
            f"{path} lists no images."
            if not images
            else f"{counted(nameless, 'image')} in {path} lack file_name.\nDownload it anew."
        )
    return images, categories, annotations


def _categories_of_images(
    images: list[dict[str, Any]],
    categories: dict[Any, dict[str, Any]],
    annotations: list[dict[str, Any]],
) -> list[list[str]]:
    """The names of each image's categories: of all its boxes, and of all images of one file."""
    files = {image["id"]: image["file_name"] for image in images}
    of_file: dict[Any, set[str]] = defaultdict(set)
    for annotation in annotations:
        category = categories.get(annotation.get("category_id"))
        file = files.get(annotation.get("image_id"))
        if category and file is not None:
            of_file[file].add(category["name"])
    return [sorted(of_file[image["file_name"]]) for image in images]


def _observation(image: dict[str, Any]) -> str | None:
    parts = [as_text(image.get(key)) for key in _OBSERVATION]
    return "|".join(str(part) for part in parts) if all(parts) else None
