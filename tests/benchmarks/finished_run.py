"""What a finished run left in its catalog, for benchmarks that judge it and train nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import Version

from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.datasets.model_file import ModelFile, ModelFilesDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.datasets.table import TableDataset
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.evaluation.predictions import groups_of, labels_of, outputs_of
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import EMBEDDING, EPISTEMIC
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.tiers import TIERS

NEWEST = Version(None, None)
SCORES = "cannabis_ml.evaluation.calibration_scores.CalibrationComparison"
CHOICES = "cannabis_ml.calibration.choices.CalibrationReport"
RULE = "cannabis_ml.inference.decision.DecisionRule"


@dataclass(frozen=True, eq=False)
class Photos:
    """What one tier's file gave for photos of some splits, and what they are.

    Attributes:
        outputs: Raw, by name, with `embedding` and `{head}.epistemic` where the file gives them.
        truth: As from `Taxonomy.encode`.
        groups: int64 (N,).
        ids: Photo ids, (N,).
    """

    outputs: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    groups: np.ndarray
    ids: np.ndarray

    def at(self, rows: np.ndarray) -> Photos:
        """The same for some photos."""
        return Photos(
            {name: values[rows] for name, values in self.outputs.items()},
            {name: values[rows] for name, values in self.truth.items()},
            self.groups[rows],
            self.ids[rows],
        )


class FinishedRun:
    """The newest version of every entry below a folder of data, such as `data` or `data/envs/test`.

    Attributes:
        tiers: Names of the tiers whose outputs are there, smallest first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiers = [
            tier.name
            for tier in TIERS
            if (folder / "07_model_output" / tier.name / "file_outputs.parquet").exists()
        ]
        if not self.tiers:
            sys.exit(f"no file_outputs.parquet in {folder}/07_model_output: kedro run first")
        path = str(folder / "05_model_input/photo_set")
        self.photo_set: PhotoSet = PhotoSetDataset(filepath=path, version=NEWEST).load()
        self._labels = self.photo_set.labels()
        files = folder.glob("02_intermediate/taxonomy.json/*/taxonomy.json")
        newest = max(files, default=folder / "02_intermediate/taxonomy.json")
        self.taxonomy = Taxonomy.model_validate_json(newest.read_text(encoding="utf-8"))
        self._tables = {tier: self._table(tier) for tier in self.tiers}

    def photos(self, tier: str, *splits: Split) -> Photos:
        """Of one tier; the same photos in the same order for every tier."""
        table = self._tables[tier]
        table = table[table["split"].isin([str(split) for split in splits])]
        outputs = outputs_of(table, self.taxonomy)
        for name in [EMBEDDING, *(head.name + EPISTEMIC for head in self.taxonomy.heads)]:
            if name in table and len(table):
                stacked = np.stack(table[name].to_list())
                outputs[name] = stacked if name == EMBEDDING else stacked.reshape(-1)
        return Photos(
            outputs,
            self.taxonomy.encode(labels_of(table, self._labels)),
            groups_of(table, self._labels),
            table["photo_id"].to_numpy(),
        )

    def decision(self, tier: str, *, calibrated: bool = True) -> Decision:
        """As the tier's files decide, or as they would without calibrators."""
        name = "calibrated_decision" if calibrated else "decision"
        return Decision(self.taxonomy, self._typed("06_models", tier, name, RULE))

    def models(self, tier: str) -> dict[str, ModelFile]:
        """Model files by kind, with calibrated decisions."""
        path = self.folder / "06_models" / tier / "calibrated_files"
        return ModelFilesDataset(filepath=str(path), version=NEWEST).load()

    def checkpoint(self, tier: str) -> Any:
        """`Checkpoint` of the trained network."""
        path = self.folder / "06_models" / tier / "checkpoint.safetensors"
        return CheckpointDataset(filepath=str(path), version=NEWEST).load()

    def scores(self, tier: str) -> Any:
        """`CalibrationComparison` on the test split."""
        return self._typed("08_reporting", tier, "calibration_scores", SCORES)

    def choices(self, tier: str) -> Any:
        """`CalibrationReport`."""
        return self._typed("08_reporting", tier, "calibrator_choices", CHOICES)

    def _typed(self, layer: str, tier: str, name: str, model: str) -> Any:
        path = self.folder / layer / tier / f"{name}.json"
        return TypedJSONDataset(filepath=path, model=model, version=NEWEST).load()

    def _table(self, tier: str) -> pd.DataFrame:
        path = str(self.folder / "07_model_output" / tier / "file_outputs.parquet")
        table: pd.DataFrame = TableDataset(filepath=path, version=NEWEST).load()
        return table.sort_values("photo_id", kind="stable").reset_index(drop=True)
