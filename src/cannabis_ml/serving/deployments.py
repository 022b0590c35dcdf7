"""The folder of deployments: which bundle answers since when, for every replica that follows it.

    records/0001.json   who let which bundle answer, when and why; the newest one holds
    bundles/ID.zip      every bundle that was deployed, or bundles/ID/ where it was a folder

Records are only ever added, each written aside and then put in place under the next number: of two
that deploy at once one is refused. A bundle is in place before a record names it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import DeploymentError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.manifest import MANIFEST, SHA256
from cannabis_ml.promotion.line import before_last

RECORDS, BUNDLES = "records", "bundles"

Kind = Literal["deploy", "back", "trial", "end of trial"]
BundleId = Annotated[str, Field(pattern=SHA256, description="SHA-256 of a bundle's manifest")]


class DeploymentRecord(BaseModel):
    """Which bundles answer from a moment on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=1, description="In the order of time")
    kind: Kind = Field(
        description="`trial`: a challenger answers beside the champion; `back`: the champion before"
    )
    champion: BundleId
    challenger: BundleId | None = None
    at: AwareDatetime
    by: str = Field(min_length=1, description="Who")
    reason: str = Field(min_length=1, description="Why, in words")
    checks: list[str] = Field(description="What was checked before, and what came of it")


class Deployments:
    """A folder of deployments, on a disk that all replicas see.

    Args:
        root: The folder; made by the first deployment.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def is_there(self) -> bool:
        """Whether the folder holds deployments."""
        return (self.root / RECORDS).is_dir()

    def records(self) -> list[DeploymentRecord]:
        """All of them, the oldest first.

        Raises:
            DeploymentError: If a file of them is not a record.
        """
        return [_read(path) for path in self._files()]

    def current(self) -> DeploymentRecord | None:
        """What answers now; None where nothing was deployed yet. Reads the newest record alone.

        Raises:
            DeploymentError: If it is not a record.
        """
        files = self._files()
        return _read(files[-1]) if files else None

    def open(self, bundle_id: str) -> Bundle:
        """Open a bundle that was deployed.

        Raises:
            BundleError: If it was altered.
            DeploymentError: If it is missing, or another bundle is in its place.
        """
        for path in self._places(bundle_id):
            if path.exists():
                bundle = Bundle.open(path)
                if bundle.manifest.content_sha256 != bundle_id:
                    raise DeploymentError(
                        f"{path} holds another bundle, {bundle.manifest.content_sha256[:12]}."
                        " Restore it from a backup, or deploy another."
                    )
                return bundle
        raise DeploymentError(
            f"The bundle {bundle_id[:12]} is missing in {self.root / BUNDLES}. Restore it from a"
            " backup, or deploy another."
        )

    def keep(self, bundle: Bundle) -> None:
        """Copy a bundle into the folder, and read it back.

        Raises:
            BundleError: If the copy is not the bundle.
            StorageError: If there is no room for it.
        """
        bundle_id = bundle.manifest.content_sha256
        packed, unpacked = self._places(bundle_id)
        if packed.exists() or unpacked.exists():
            self.open(bundle_id)
            return
        with written_aside(packed if bundle.path.is_file() else unpacked) as aside:
            if bundle.path.is_file():
                shutil.copyfile(bundle.path, aside)
            else:
                for name in [MANIFEST, *bundle.manifest.files]:
                    (aside / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(bundle.path / name, aside / name)
            if Bundle.open(aside).manifest.content_sha256 != bundle_id:
                raise DeploymentError(f"{bundle.path} was exchanged while it was copied.")

    def append(self, record: DeploymentRecord) -> None:
        """Add a record; every replica that follows the folder takes its bundles.

        Raises:
            DeploymentError: If another process has added one meanwhile.
        """
        path = self.root / RECORDS / f"{record.number:06}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with aside.open("x", encoding="utf-8") as file:
                file.write(record.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, path)  # never over another, as renaming would
        except FileExistsError as error:
            raise DeploymentError(
                f"Somebody else deployed meanwhile: {path} is there already. Look at it with"
                " --list, then deploy again."
            ) from error
        finally:
            aside.unlink(missing_ok=True)

    def next(
        self, kind: Kind, champion: str, challenger: str | None, decided: Decided
    ) -> DeploymentRecord:
        """The record that comes after the newest."""
        now = self.current()
        return DeploymentRecord(
            number=1 if now is None else now.number + 1,
            kind=kind,
            champion=champion,
            challenger=challenger,
            at=decided.at,
            by=decided.by,
            reason=decided.reason,
            checks=decided.checks,
        )

    def before(self) -> str:
        """Id of the champion before the present one.

        Raises:
            DeploymentError: If there is none.
        """
        steps: list[tuple[bool, str]] = []
        for record in self.records():
            if not steps or record.champion != steps[-1][1]:
                steps.append((record.kind == "back", record.champion))
        found = before_last(steps)
        if found is None:
            raise DeploymentError(
                f"No other bundle answered before the present one in {self.root}."
            )
        return found

    def _files(self) -> list[Path]:
        return sorted((self.root / RECORDS).glob("[0-9]*.json"))

    def _places(self, bundle_id: str) -> tuple[Path, Path]:
        folder = self.root / BUNDLES
        return folder / f"{bundle_id}.zip", folder / bundle_id


class Decided(BaseModel):
    """Who decides what answers, when and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str
    reason: str
    at: datetime
    checks: list[str] = Field(default_factory=list)


def in_a_line(record: DeploymentRecord) -> str:
    """A record for people."""
    trial = "" if record.challenger is None else f", on trial {record.challenger[:12]}"
    return (
        f"{record.number:>4}  {record.at:%Y-%m-%d %H:%M}  {record.kind:<12}"
        f"  {record.champion[:12]}{trial}  by {record.by}: {record.reason}"
    )


def open_served(deployments: Deployments) -> tuple[DeploymentRecord, Iterator[Bundle]]:
    """The newest record, and its bundles, the champion first.

    Raises:
        DeploymentError: If nothing was deployed yet.
        BundleError: If a bundle was altered.
    """
    record = deployments.current()
    if record is None:
        raise DeploymentError(
            f"Nothing was deployed to {deployments.root} yet:"
            f" cannabis_ml deploy BUNDLE --to {deployments.root}"
        )
    ids = [record.champion, *([record.challenger] if record.challenger else [])]
    return record, (deployments.open(bundle_id) for bundle_id in ids)


def _read(path: Path) -> DeploymentRecord:
    try:
        return DeploymentRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DeploymentError(
            f"{path} is not the record of a deployment: {error}\nRestore it from a backup."
        ) from error
