"""Nodes of augmentation: plan the copies of each training photo, draw a preview."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.copies import Copies, CopyStream
from cannabis_ml.photo_sets.photo_set import IMAGE, PhotoSet
from cannabis_ml.photos.augment import draw_of, implementation, make_copies
from cannabis_ml.photos.augmentation_params import AugmentationParams, Guard
from cannabis_ml.photos.augmentation_policy import Policy
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.text import did_you_mean
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe

logger = logging.getLogger(__name__)


def augment_photos(
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    augmentation: AugmentationParams,
    engine: Engine = THREADS,
    chosen_recipe: ChosenRecipe = AS_CONFIGURED,
) -> CopyStream:
    """List the copies of the training photos that are wanted.

    Copy k of a photo depends on the photo, k, the seed and the policy alone. Labels that a
    transform would make untrue are guarded: for a photo that has one, or may have it because it
    is unknown, the policy is held within the guard's limits.

    Args:
        photo_set: Stored photos of all splits.
        taxonomy: The heads that guards and multipliers name.
        augmentation: The policy, how many copies, and the guards.
        engine: Where copies are made.
        chosen_recipe: Number and side of copies, where the run has a limit of minutes.

    Returns:
        A stream that makes, when it is saved, the copies that are not there yet.

    Raises:
        TaxonomyError: If a guard or multiplier names a class that its head lacks.
    """
    plan = _Plan.of(_following(augmentation, chosen_recipe), taxonomy)
    labels = PhotoSet(photo_set.arrow.select_columns(["split", *taxonomy.columns]))
    total = sum(plan.count(row) for row in _training_rows(labels))
    return CopyStream(
        features=photo_set.arrow.features,
        photos=(_copies(row, plan) for row in _training_rows(photo_set)),
        total=total,
        workers=augmentation.workers,
        engine=engine,
    )


def _following(augmentation: AugmentationParams, recipe: ChosenRecipe) -> AugmentationParams:
    """The parameters, with the copies that a recipe has."""
    if recipe.copies is None:
        return augmentation
    policy = augmentation.policy
    if recipe.copies_side not in (None, policy.size):
        policy = Policy.model_validate(policy.model_dump() | {"size": recipe.copies_side})
    return augmentation.model_copy(update={"copies": recipe.copies, "policy": policy})


def draw_augmentation_preview(
    photo_set: PhotoSet, augmented_photos: PhotoSet, taxonomy: Taxonomy
) -> Figure:
    """Draw some training photos, each beside its copies."""
    from cannabis_ml.pipelines.augmentation.figures import augmentation_preview

    return augmentation_preview(photo_set, augmented_photos, taxonomy)


@dataclass(frozen=True)
class _Label:
    """Something that a photo may be labelled with: a class, an attribute, or a whole head."""

    head: Head
    name: str | None

    def held_by(self, row: dict[str, Any], *, unknown: bool) -> bool:
        """Whether the photo has the label; `unknown` where the label is missing."""
        if self.name is None:
            return True
        shown = self.head.is_shown(row, self.name)
        return unknown if shown is None else shown


@dataclass(frozen=True)
class _Plan:
    """How many copies a photo gets, and by which policy, from its labels."""

    params: AugmentationParams
    factors: list[tuple[_Label, float]]
    guards: list[tuple[_Label, Guard]]
    policies: dict[tuple[int, ...], Policy] = field(default_factory=dict)

    @classmethod
    def of(cls, params: AugmentationParams, taxonomy: Taxonomy) -> _Plan:
        faults: list[str] = []
        factors = [
            (label, factor)
            for head, classes in params.multipliers.items()
            for name, factor in classes.items()
            if (label := _find(f"{head}.{name}", taxonomy, "multipliers", faults))
        ]
        guards = [
            (label, guard)
            for name, guard in params.guards.items()
            if guard and (label := _find(name, taxonomy, "guards", faults))
        ]
        if faults:
            raise TaxonomyError(
                "\n  ".join(["Augmentation names labels that the taxonomy does not have:", *faults])
                + "\nMend them in parameters_augmentation.yml."
            )
        return cls(params, factors, guards)

    def count(self, row: dict[str, Any]) -> int:
        """How many copies the photo gets."""
        factors = [factor for label, factor in self.factors if label.held_by(row, unknown=False)]
        return int(self.params.copies * max(factors, default=1.0) + 0.5)

    def policy(self, row: dict[str, Any]) -> Policy:
        """The policy within the guards of the photo's labels."""
        at = tuple(
            i
            for i, (label, guard) in enumerate(self.guards)
            if guard.when == "always" or label.held_by(row, unknown=True)
        )
        if at not in self.policies:
            self.policies[at] = self.params.policy.within(self.guards[i][1] for i in at)
        return self.policies[at]


def _find(label: str, taxonomy: Taxonomy, where: str, faults: list[str]) -> _Label | None:
    """What `head` or `head.class` names; None where the taxonomy has no such head."""
    for head in taxonomy.heads:
        if label == head.name:
            return _Label(head, None)
        if label.startswith(f"{head.name}."):
            name = label.removeprefix(f"{head.name}.")
            if name in head.class_names:
                return _Label(head, name)
            faults.append(f"{where}: '{label}'{did_you_mean(name, head.class_names)}")
            return None
    logger.debug("%s of augmentation: this taxonomy has no '%s'", where, label)
    return None


def _copies(row: dict[str, Any], plan: _Plan) -> Copies:
    image = row[IMAGE]["bytes"]
    labels = {name: value for name, value in row.items() if name != IMAGE}
    policy, seed, photo_id = plan.policy(row), plan.params.seed, row["photo_id"]
    draws = [draw_of(photo_id, k + 1, seed, policy) for k in range(plan.count(row))]
    made_of = f"{hashlib.sha256(image).hexdigest()} {policy.sha256} {implementation()}"
    keys = [
        hashlib.sha256(f"{photo_id} {k + 1} {draw} {made_of}".encode()).hexdigest()
        for k, draw in enumerate(draws)
    ]
    return Copies(labels, keys, partial(_make, image, draws, policy))


def _make(image: bytes, draws: list[int], policy: Policy, wanted: Sequence[int]) -> list[bytes]:
    return make_copies(image, [draws[k] for k in wanted], policy)


def _training_rows(photos: PhotoSet) -> Iterator[dict[str, Any]]:
    """Rows of the training split, in order, with photos as they are stored.

    Nothing else is augmented: what models are judged by stays as it was taken.
    """
    import pyarrow.compute as pc

    for batch in photos.batches():
        yield from batch.filter(pc.equal(batch["split"], Split.TRAIN)).to_pylist()
