"""The champion's folder: bundles that were champion, the records, and the one in production.

    records/0001.json   how each bundle became champion
    bundles/ID.zip      every bundle that was, whole: weights, calibration and thresholds together
    checkpoints/ID/     what its tiers can be trained on from, where that was given
    bundle.zip          the champion: what a server opens and a phone is sent

A record is written last, and decides: what a killed process left is put right by the next that
looks. One process changes the folder at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import PromotionError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.promotion.line import before_last
from cannabis_ml.promotion.records import PromotionRecord, Standing

LOCK_SECONDS = 60
"""How long another promotion may take."""

SERVED = "bundle.zip"

Checkpoints = Mapping[str, Path]
"""Files by tier."""


class ChampionStore:
    """The champion of one environment, on a local disk.

    Args:
        root: Its folder; made when the first bundle is promoted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def served(self) -> Path:
        """The champion's file; replaced whole, so that a reader gets all of one or of another."""
        return self.root / SERVED

    @property
    def address(self) -> str:
        """Where clients get the champion's file."""
        return str(self.served)

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return str(self.root)

    def records(self) -> list[PromotionRecord]:
        """All of them, the oldest first.

        Raises:
            PromotionError: If a file of them is not a record.
        """
        return [_read(path) for path in sorted((self.root / "records").glob("[0-9]*.json"))]

    def current(self) -> PromotionRecord | None:
        """The champion's record; None where there is no champion yet."""
        return next(iter(reversed(self.records())), None)

    def open(self, bundle_id: str | None = None) -> Bundle | None:
        """Open a bundle that is or was champion.

        Args:
            bundle_id: Which one; None: the champion.

        Returns:
            None where there is no champion yet.

        Raises:
            BundleError: If its file was altered.
            PromotionError: If there is none of this id.
        """
        if bundle_id is None:
            now = self.current()
            if now is None:
                return None
            bundle_id = now.bundle_id
        return Bundle.open(self._kept(bundle_id))

    def checkpoint(self, tier: str, bundle_id: str) -> Path | None:
        """What a tier of a bundle can be trained on from; None where nothing was given."""
        path = self.root / "checkpoints" / bundle_id / f"{tier}.safetensors"
        return path if path.is_file() else None

    def promote(
        self, bundle: Bundle, standing: Standing, checkpoints: Checkpoints | None = None
    ) -> PromotionRecord:
        """Make a bundle champion.

        Args:
            bundle: From wherever it lies; it is copied.
            standing: Who, why, and what the gate found.
            checkpoints: What its tiers were exported from.

        Returns:
            The record; of a bundle that is champion already, the one there is.
        """
        bundle_id = bundle.manifest.content_sha256
        with self._locked():
            now = self.current()
            if now is not None and now.bundle_id == bundle_id:
                self._serve(bundle_id)
                return now
            self._keep(bundle, checkpoints or {})
            return self._record("promotion", bundle, standing)

    def roll_back(self, standing: Standing, to: str | None = None) -> PromotionRecord:
        """Make a bundle champion again that was before.

        Args:
            standing: Who and why.
            to: Its id, or the beginning of it; None: the one before the champion.

        Raises:
            PromotionError: If there is none before, none of this id, or several.
        """
        with self._locked():
            records = self.records()
            if not records:
                raise PromotionError(f"There is no champion in {self.place} to roll back from.")
            bundle_id = _before(records) if to is None else self._meant(to, records)
            if bundle_id == records[-1].bundle_id:
                raise PromotionError(f"{bundle_id[:12]} is the champion already.")
            bundle = Bundle.open(self._kept(bundle_id))
            return self._record("rollback", bundle, standing)

    def _meant(self, to: str, records: list[PromotionRecord]) -> str:
        every = dict.fromkeys(record.bundle_id for record in records)
        matches = [bundle_id for bundle_id in every if bundle_id.startswith(to)]
        if len(matches) == 1:
            return matches[0]
        known = ", ".join(bundle_id[:12] for bundle_id in every)
        raise PromotionError(
            f"{len(matches)} bundles that were champion have an id that begins with '{to}'; there"
            f" are {known}."
        )

    def _kept(self, bundle_id: str) -> Path:
        path = self.root / "bundles" / f"{bundle_id}.zip"
        if not path.is_file():
            raise PromotionError(
                f"{path} is missing, which was champion. Restore it from a backup, or promote"
                " another bundle."
            )
        return path

    def _keep(self, bundle: Bundle, checkpoints: Checkpoints) -> None:
        bundle_id = bundle.manifest.content_sha256
        path = self.root / "bundles" / f"{bundle_id}.zip"
        if not path.is_file():
            packed = (
                bundle.path
                if bundle.path.is_file()
                else bundle.path.with_name(f"{bundle.path.name}.zip")
            )
            if not packed.is_file():
                raise PromotionError(f"{bundle.path} has no .zip beside it: promote that file.")
            if Bundle.open(packed).manifest.content_sha256 != bundle_id:
                raise PromotionError(f"{packed} is another bundle than the folder beside it.")
            _place(packed, path)
        for tier, source in checkpoints.items():
            _place(source, self.root / "checkpoints" / bundle_id / f"{tier}.safetensors")

    def _serve(self, bundle_id: str) -> None:
        kept = self._kept(bundle_id)
        if self.served.is_file() and self.served.samefile(kept):
            return
        _place(kept, self.served)

    def _record(self, kind: str, bundle: Bundle, standing: Standing) -> PromotionRecord:
        records, manifest = self.records(), bundle.manifest
        record = PromotionRecord.model_validate(
            {
                "number": len(records) + 1,
                "kind": kind,
                "bundle_id": manifest.content_sha256,
                "name": manifest.name,
                "created": manifest.created,
                "previous": records[-1].bundle_id if records else None,
                "at": standing.at,
                "by": standing.by,
                "reason": standing.reason,
                "outcome": standing.report.outcome if standing.report else None,
                "test": standing.report.reasons if standing.report else [],
                "photo_set_fingerprint": manifest.photo_set_fingerprint,
                "run": manifest.run,
            }
        )
        self._write(self.root / "records" / f"{record.number:04}.json", record)
        self._serve(record.bundle_id)
        return record

    def _write(self, path: Path, record: PromotionRecord) -> None:
        with written_aside(path) as aside:
            aside.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".lock", timeout=LOCK_SECONDS):
                now = self.current()
                if now is not None:  # what a killed process left
                    self._serve(now.bundle_id)
                yield
        except Timeout as error:
            raise PromotionError(
                f"Another process has been changing the champion in {self.place} for"
                f" {LOCK_SECONDS} seconds. Wait for it, or end it."
            ) from error


def _before(records: list[PromotionRecord]) -> str:
    """Id of the champion that a rollback without a name goes to."""
    steps = [(record.kind == "rollback", record.bundle_id) for record in records]
    found = before_last(steps)
    if found is None:
        raise PromotionError(
            f"There is no champion before {steps[-1][1][:12]} to roll back to. To go to another"
            " that was champion: --to ID."
        )
    return found


def _place(source: Path, target: Path) -> None:
    """Put a file in place whole: as another name of the same bytes, or as a copy."""
    with written_aside(target) as aside:
        try:
            os.link(source, aside)
        except OSError:  # another disk, or a file system without hard links
            shutil.copyfile(source, aside)


def _read(path: Path) -> PromotionRecord:
    try:
        return PromotionRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise PromotionError(
            f"{path} is not the record of a promotion: {error}\nRestore it from a backup."
        ) from error
