"""Every check is listed, documented, configured and tested."""

from pathlib import Path

from cannabis_ml.photos.checks import CHECKS, FLAGGED, REPAIRED, SET_ASIDE
from cannabis_ml.photos.checks.params import DefectParams

KINDS = {"set_aside": SET_ASIDE, "repaired": REPAIRED, "flagged": FLAGGED}


def test_every_check_is_listed_once_with_its_kind():
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    for kind, checks in KINDS.items():
        assert checks
        assert {check.kind for check in checks} == {kind}


def test_every_check_describes_what_it_finds():
    assert all(len(check.about) > 20 for check in CHECKS)


def test_every_threshold_belongs_to_a_check():
    names = tuple(check.name for check in CHECKS)
    assert all(field.startswith(names) for field in DefectParams.model_fields)


def test_every_check_has_its_test():
    tests = {kind: Path(__file__).with_name(f"test_{kind}.py").read_text("utf-8") for kind in KINDS}
    assert [c.name for c in CHECKS if f'"{c.name}"' not in tests[c.kind]] == []


def test_plain_photo_is_found_nothing_wrong_with(told, draw, encode):
    assert told(encode(draw(1, 400, 300))) == {}
