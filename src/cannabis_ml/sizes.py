"""Check that the four configured sizes of photos fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cannabis_ml.errors import ConfigError
from cannabis_ml.tiers import TIERS

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

SHORT_SIDE = "ingestion.store.short_side"
COPIES = "augmentation.policy.size"


@dataclass(frozen=True)
class PhotoSizes:
    """Short sides of photos in pixels, by the parameters that set them.

    Attributes:
        drawn: Of sample photos, if a source draws them.
        stored: That ingestion shrinks photos to.
        copies: Of augmented copies; empty if none are made.
        models: Input sizes of the networks, and of phases of their training.
    """

    drawn: Mapping[str, int]
    stored: Mapping[str, int]
    copies: Mapping[str, int]
    models: Mapping[str, int]

    def check(self) -> None:
        """Check that no photo has to be enlarged for a network.

        Enlarging adds no detail: the network costs more and learns no more than from the smaller
        photo.

        Raises:
            ConfigError: Names every size that is too small for another, and what to set it to.
        """
        chain = (
            (self.drawn, {**self.copies, **self.models}),
            (self.stored, {**self.copies, **self.models}),
            (self.copies, self.models),
        )
        faults = [fault for givers, takers in chain for fault in _faults(givers, takers)]
        if faults:
            raise ConfigError(
                "\n  ".join(["Photos would be enlarged, which adds no detail:", *faults])
            )


def sizes_of_run(pipeline: Pipeline, catalog: CatalogProtocol) -> PhotoSizes | None:
    """Sizes of photos in a run, known before any node runs.

    Args:
        pipeline: The pipeline to run.
        catalog: Holds every parameter, also those that the pipeline does not use: ingestion alone
            stores photos for the networks that are trained later.

    Returns:
        None if the pipeline neither makes photos nor trains on them.
    """
    from cannabis_ml.photo_sets.store_params import StoreParams
    from cannabis_ml.photos.augmentation_params import AugmentationParams

    names = {name.removeprefix("params:") for name in catalog if name.startswith("params:")}
    models = [name for tier in TIERS if (name := f"{tier.name}.model") in names]
    taken = {name.removeprefix("params:") for name in pipeline.inputs()}
    if not taken & {"ingestion.store", "augmentation", *models}:
        return None
    stored, copies = {}, {}
    if "ingestion.store" in names:
        store = StoreParams.model_validate(catalog.load("params:ingestion.store"))
        stored = {SHORT_SIDE: store.short_side}
    if "augmentation" in names:
        augmentation = AugmentationParams.model_validate(catalog.load("params:augmentation"))
        copies = {COPIES: augmentation.policy.size} if augmentation.copies else {}
    return PhotoSizes(
        drawn=_drawn(catalog) if "source_photos" in taken else {},
        stored=stored,
        copies=copies,
        models={f"{name}.image_size": _image_size(catalog, name) for name in models}
        | _phase_sizes(catalog, names),
    )


def _image_size(catalog: CatalogProtocol, name: str) -> int:
    from cannabis_ml.networks.params import ModelParams

    return ModelParams.model_validate(catalog.load(f"params:{name}")).image_size


def _phase_sizes(catalog: CatalogProtocol, names: set[str]) -> dict[str, int]:
    from cannabis_ml.training.schedule import Schedule

    schedules = {
        name: Schedule.model_validate(catalog.load(f"params:{name}"))
        for tier in TIERS
        if (name := f"{tier.name}.schedule") in names
    }
    return {
        f"{name}.phases[{index}].image_size": phase.image_size
        for name, schedule in schedules.items()
        for index, phase in enumerate(schedule.phases)
        if phase.image_size
    }


def _drawn(catalog: CatalogProtocol) -> dict[str, int]:
    from cannabis_ml.datasets.source_photos import SourcePhotosDataset

    photos: object = catalog.get("source_photos")
    if not isinstance(photos, SourcePhotosDataset):
        return {}
    return {f"source_photos.{place}.size": size for place, size in photos.drawn_sizes.items()}


def _faults(givers: Mapping[str, int], takers: Mapping[str, int]) -> Iterator[str]:
    for giver, given in givers.items():
        larger = {name: size for name, size in takers.items() if size > given}
        if larger:
            named = ", ".join(f"{name} ({size})" for name, size in larger.items())
            yield (
                f"{giver} is {given}, too small for {named}: set it to {max(larger.values())} or"
                f" more, or {'those' if len(larger) > 1 else 'that'} to {given} or less"
            )
