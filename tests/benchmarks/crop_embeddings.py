"""Photos of PlantVillage and PlantDoc as embeddings, for benchmarks of what people's labels bring.

Photos go through the project's own ingestion (defects, copies, near-duplicates, groups), then once
through a frozen EfficientNet-Lite0 with ImageNet weights. A class is `species condition`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
FOLDERS = {"plantvillage": "plantvillage_subset", "plantdoc": "plantdoc_256"}
BACKBONE, SIZE = "tf_efficientnet_lite0", 224


@dataclass(frozen=True, eq=False)
class Embedded:
    """Sound photos of one source.

    Attributes:
        photos: One row per photo: `photo_id`, `path`, `group` (photos that show the same),
            `cluster` (near-duplicates), `given_split` where the source has one.
        labels: Numbers of the classes, int64 (N,).
        names: Name of each class.
        embeddings: float32 (N, 1280) of the frozen backbone.
    """

    photos: pd.DataFrame
    labels: np.ndarray
    names: list[str]
    embeddings: np.ndarray

    @property
    def near_duplicates(self) -> np.ndarray:
        """Number of each photo's cluster of near-duplicates, most of them alone, int64 (N,).

        Groups also hold what the source names as one run of captures, of several leaves perhaps.
        """
        alone = self.photos["photo_id"]
        return pd.factorize(self.photos["cluster"].astype("str").fillna(alone))[0]

    @property
    def groups(self) -> np.ndarray:
        """Number of each photo's group, int64 (N,)."""
        return pd.factorize(self.photos["group"])[0]

    def of_classes(self, at_least: int) -> Embedded:
        """Only the photos of classes with so many groups, numbered anew."""
        sizes = pd.Series(self.groups).groupby(self.labels).nunique()
        kept = sizes.index[sizes >= at_least].to_numpy()
        rows = np.flatnonzero(np.isin(self.labels, kept))
        return Embedded(
            self.photos.iloc[rows].reset_index(drop=True),
            np.searchsorted(kept, self.labels[rows]),
            [self.names[k] for k in kept],
            self.embeddings[rows],
        )

    def divide(self, seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from and rows held out, drawn by group within each class."""
        random, groups = np.random.default_rng(seed), self.groups
        held: list[int] = []
        for k in range(len(self.names)):
            names = random.permutation(np.unique(groups[self.labels == k]))
            held += list(names[: max(1, round(share * len(names)))])
        out = np.isin(groups, held)
        return np.flatnonzero(~out), np.flatnonzero(out)


def load(source: str, cache: Path | None = None, folder: Path | None = None) -> Embedded:
    """Photos of one source with their embeddings, from the cache where they are there.

    Args:
        source: `plantvillage` or `plantdoc`.
        cache: Where embeddings are kept between calls; None: nowhere.
        folder: Of the photos; None: below `PHOTOS_DIR`.
    """
    photos = _sound(source, folder or PHOTOS_DIR / FOLDERS[source])
    label = photos["species"] + " " + photos["condition"].fillna("")
    names, labels = np.unique(label.str.strip().astype(str), return_inverse=True)
    key = hashlib.sha256(f"{BACKBONE} {SIZE} {list(photos['photo_id'])}".encode()).hexdigest()
    kept = cache / f"{source}-{key[:16]}.npy" if cache else None
    if kept and kept.is_file():
        embeddings = np.load(kept)
    else:
        embeddings = _embed(photos)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, embeddings)
    columns = ["photo_id", "path", "group", "cluster", "given_split"]
    return Embedded(photos[columns], labels.astype(np.int64), list(names), embeddings)


def _sound(source: str, folder: Path) -> pd.DataFrame:
    from cannabis_ml.datasets.source_photos import SourcePhotosDataset
    from cannabis_ml.photo_sets.groups import GroupParams, group_photos
    from cannabis_ml.photos.checks.params import DefectParams
    from cannabis_ml.pipelines.ingestion.nodes import index_photos, set_aside_copies
    from cannabis_ml.pipelines.ingestion.params import IndexParams
    from cannabis_ml.taxonomy_spec import TaxonomySpec

    if not folder.is_dir():
        sys.exit(f"no photos in {folder}; set PHOTOS_DIR")
    found = SourcePhotosDataset(source={"kind": source, "path": str(folder)}).load()
    heads = [{"name": name, "classes": "derived"} for name in ("species", "condition")]
    taxonomy = TaxonomySpec.model_validate({"heads": heads}).resolve(found)
    index = index_photos(found, taxonomy, IndexParams(workers=1), DefectParams())
    checked = set_aside_copies(index, taxonomy)
    grouped = group_photos(checked, GroupParams())
    return grouped[grouped["defect"].isna()].reset_index(drop=True)


def _embed(photos: pd.DataFrame) -> np.ndarray:
    from cannabis_ml.datasets.photo_set import PhotoSetDataset
    from cannabis_ml.networks.building import build_network
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.photo_sets.photo_set import PhotoStream
    from cannabis_ml.taxonomy import Taxonomy
    from cannabis_ml.training.data import Photos
    from cannabis_ml.training.features import compute_features
    from cannabis_ml.training.schedule import TrainingParams
    from cannabis_ml.training.training_data import TrainingData

    taxonomy = Taxonomy.model_validate({"heads": [{"name": "any", "classes": ["yes", "no"]}]})
    rows = photos[["photo_id", "path", "group"]].assign(split="train", any="yes")
    with tempfile.TemporaryDirectory() as scratch:
        stored = PhotoSetDataset(filepath=f"{scratch}/photo_set")
        stored.save(PhotoStream(rows, lambda row: Path(row["path"]).read_bytes(), workers=1))
        photo_set = stored.load()
        assert photo_set.labels("photo_id")["photo_id"].to_list() == list(rows["photo_id"])
        network, _ = build_network(ModelParams(backbone=BACKBONE, image_size=SIZE), taxonomy)
        data = Photos(TrainingData(photo_set, taxonomy, np.arange(len(photo_set))), SIZE)
        return compute_features(network, data, TrainingParams(accelerator="cpu"))


if __name__ == "__main__":
    for name in FOLDERS:
        made = load(name, Path(sys.argv[1]))
        told = f"{len(made.labels):,} photos, {len(made.names)} classes"
        print(name, told, f"{len(np.unique(made.groups)):,} groups", made.embeddings.shape)
