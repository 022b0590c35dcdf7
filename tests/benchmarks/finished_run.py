"""What a finished run left in its catalog, for benchmarks that judge it and train nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import Version

from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.datasets.model_file import ModelFile, ModelFilesDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.datasets.table import TableDataset
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.datasets.unknown_score import UnknownScoreDataset
from cannabis_ml.evaluation.answered import LabeledOutputs, labeled_outputs
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.tiers import TIERS

NEWEST = Version(None, None)
RULE = "cannabis_ml.inference.decision.DecisionRule"
REPORTS = {
    "calibration_scores": "cannabis_ml.evaluation.calibration_scores.CalibrationComparison",
    "calibrator_choices": "cannabis_ml.calibration.choices.CalibrationReport",
    "latency": "cannabis_ml.evaluation.latency.LatencyReport",
    "reliability_scores": "cannabis_ml.evaluation.reliability_scores.ReliabilityScores",
    "unknown_report": "cannabis_ml.calibration.unknown_choice.UnknownReport",
}


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

    def photos(self, tier: str, *splits: Split) -> LabeledOutputs:
        """Of one tier; the same photos in the same order for every tier."""
        return labeled_outputs(self.table(tier), self._labels, self.taxonomy, *splits)

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

    def unknown_score(self, tier: str) -> UnknownScore:
        path = self.folder / "06_models" / tier / "unknown_score.npz"
        return UnknownScoreDataset(filepath=str(path), version=NEWEST).load()

    def report(self, tier: str, name: str) -> Any:
        """One of `REPORTS`."""
        return self._typed("08_reporting", tier, name, REPORTS[name])

    def table(self, tier: str) -> pd.DataFrame:
        """`file_outputs`."""
        path = str(self.folder / "07_model_output" / tier / "file_outputs.parquet")
        table: pd.DataFrame = TableDataset(filepath=path, version=NEWEST).load()
        return table.sort_values("photo_id", kind="stable").reset_index(drop=True)

    def _typed(self, layer: str, tier: str, name: str, model: str) -> Any:
        path = self.folder / layer / tier / f"{name}.json"
        return TypedJSONDataset(filepath=path, model=model, version=NEWEST).load()
