"""The champion in the catalog: what is in production, and what asks to take its place."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from cannabis_ml.errors import BundleError, PromotionError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.promotion.records import PromotionRecord, Standing
from cannabis_ml.promotion.remote_store import champion_store
from cannabis_ml.tiers import tier_named

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A bundle, and whether it becomes champion.

    Attributes:
        bundle: The challenger.
        promote: Whether the gate lets it through.
        standing: Who, why, and what the gate found.
        model: Name of the registered model in MLflow.
        tracked: Whether MLflow tracks this run; if not, its registry is left alone.
        checkpoints: Of its tiers, to train on from.
    """

    bundle: Bundle
    promote: bool
    standing: Standing
    model: str
    tracked: bool
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)


class ChampionDataset(AbstractDataset[Candidate, "Bundle | None"]):
    """Loads the champion's bundle, or None; saving a `Candidate` promotes it where it may be.

    MLflow's aliases `champion` and `challenger` follow.

    Args:
        filepath: Folder of a `ChampionStore`: local, or an address that fsspec knows.
        credentials: Options of the other file system.
        cache: Local folder for copies of what lies there; None keeps them until the process ends.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        credentials: dict[str, object] | None = None,
        cache: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self.store = champion_store(filepath, credentials, cache)

    def load(self) -> Bundle | None:
        """Open the champion.

        Raises:
            PromotionError: If its file is missing, was altered, or is of another version.
        """
        try:
            return self.store.open()
        except BundleError as error:
            raise PromotionError(
                f"The champion cannot be opened: {error}\nThe newest bundle is complete all the"
                ' same. To make it champion without a comparison: kedro promote --reason "WHY"; to'
                " go back to an earlier one: kedro rollback."
            ) from error

    def save(self, data: Candidate) -> None:
        """Register the challenger, and promote it if the gate lets it through."""
        bundle_id = data.bundle.manifest.content_sha256
        now = self.store.current()
        if now is not None and now.bundle_id == bundle_id:
            logger.info("%s is the champion already.", bundle_id[:12])
        elif not data.promote:
            if data.tracked:
                from cannabis_ml.promotion.registry import register_challenger

                register_challenger(data.model, data.bundle)
            return
        record = self.promote(data)
        if data.tracked:
            from cannabis_ml.promotion.registry import register_champion

            register_champion(data.model, data.bundle)
        logger.info("Champion since record %d: %s.", record.number, bundle_id[:12])

    def promote(self, candidate: Candidate) -> PromotionRecord:
        """Make a bundle champion, with the checkpoints of its tiers."""
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for tier, checkpoint in candidate.checkpoints.items():
                paths[tier] = Path(folder) / f"{tier}.safetensors"
                checkpoint.write(paths[tier])
            return self.store.promote(candidate.bundle, candidate.standing, paths)

    def _exists(self) -> bool:
        return self.store.current() is not None

    def preview(self) -> JSONPreview:
        """The newest record, for kedro-viz."""
        now = self.store.current()
        return JSONPreview("{}" if now is None else now.model_dump_json())

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self.store.place)}


class ChampionStartDataset(AbstractDataset[None, "Checkpoint | None"]):
    """The champion's checkpoint of one tier, to train on from; None where there is none.

    Args:
        filepath: As for `ChampionDataset`; `credentials` and `cache` too.
        tier: Name of the tier.
        bundle: Id of a bundle that was champion, in place of the one that is.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        tier: str,
        bundle: str | None = None,
        credentials: dict[str, object] | None = None,
        cache: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._store = champion_store(filepath, credentials, cache)
        self._tier = tier_named(tier).name
        self._bundle = bundle

    @property
    def bundle_id(self) -> str | None:
        """Of the bundle whose checkpoint is loaded; None where there is no champion yet."""
        now = self._store.current()
        return self._bundle or (None if now is None else now.bundle_id)

    def load(self) -> Checkpoint | None:
        bundle_id = self.bundle_id
        path = None if bundle_id is None else self._store.checkpoint(self._tier, bundle_id)
        if path is None and self._bundle:
            raise DatasetError(
                f"{self._store.place} has no checkpoint of {self._tier} of {self._bundle}: it never"
                " was champion, or was promoted without its checkpoints."
            )
        if path is None:
            logger.warning(
                "%s has no champion with a checkpoint in %s: it starts as configured.",
                self._tier,
                self._store.place,
            )
            return None
        return Checkpoint.read(path)

    def save(self, data: None) -> NoReturn:
        raise DatasetError("The champion's checkpoint is read-only: promoting a bundle changes it.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {
            "filepath": str(self._store.place),
            "tier": self._tier,
            "bundle": self._bundle,
        }
