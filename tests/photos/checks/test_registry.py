"""Every check is listed, documented, configured and tested."""

from pathlib import Path

from cannabis_ml.photos import checks
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.registry import FLAGGED, REPAIRED, SET_ASIDE

CHECKS = (*SET_ASIDE, *REPAIRED, *FLAGGED)
NO_CHECKS = {"__init__", "params", "registry", "seen"}


def test_every_file_is_listed_once():
    files = {path.stem for path in Path(checks.__file__).parent.glob("*.py")}
    names = [check.name for check in CHECKS]
    assert sorted(names) == sorted(files - NO_CHECKS)


def test_every_check_says_what_it_finds():
    assert all(len(check.about) > 20 for check in CHECKS)


def test_every_threshold_belongs_to_a_check():
    names = tuple(check.name for check in CHECKS)
    assert all(field.startswith(names) for field in DefectParams.model_fields)


def test_every_check_has_its_test():
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert {f"test_{check.name}" for check in CHECKS} <= files


def test_plain_photo_is_found_nothing_wrong_with(told, draw, encode):
    assert told(encode(draw(1, 400, 300))) == {}
