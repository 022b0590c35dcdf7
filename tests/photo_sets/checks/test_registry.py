"""A further check of sets costs its file and a line of the registry, and this holds for all."""

from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from cannabis_ml.photo_sets import checks
from cannabis_ml.photo_sets.checks.registry import DEFECTS, SetCheckParams, check_set
from cannabis_ml.photos.checks import CHECKS
from cannabis_ml.taxonomy import Head, Taxonomy

NO_CHECKS = {"__init__", "finding", "registry"}
FILES = {path.stem for path in Path(checks.__file__).parent.glob("*.py")} - NO_CHECKS
OF_PHOTOS = {"exact_duplicate", "conflicting_duplicate", "twin_of_test"}


@pytest.mark.parametrize("name", sorted(FILES - OF_PHOTOS))
def test_every_check_of_a_set_is_run(name, monkeypatch):
    module = import_module(f"{checks.__name__}.{name}")
    runs = []
    for function in ("find", "measure"):
        if hasattr(module, function):
            monkeypatch.setattr(module, function, lambda *_: runs.append(name) or [])
    photos = pd.DataFrame({"path": ["a.jpg"], "split": ["train"], "leaf": ["dry"]})
    taxonomy = Taxonomy(heads=[Head(name="leaf", classes=["dry", "healthy"])])
    check_set(photos, taxonomy, {"train": 1.0}, SetCheckParams())
    assert runs == [name]


def test_every_defect_that_other_photos_show_is_listed_once():
    assert {defect.name for defect in DEFECTS} == OF_PHOTOS | {"near_duplicate"}
    names = [defect.name for defect in (*DEFECTS, *CHECKS)]
    assert len(names) == len(set(names))
    assert all(len(defect.about) > 20 for defect in DEFECTS)


def test_every_check_has_its_test():
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert {f"test_{name}" for name in FILES} <= tests


def test_every_block_of_parameters_belongs_to_a_check():
    assert set(SetCheckParams.model_fields) <= FILES
