"""A listed file that is not there is told, and costs nothing else."""

from cannabis_ml.photos.checks import missing
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import look


def test_no_file(tmp_path):
    seen = look(str(tmp_path / "gone.jpg"), DefectParams())
    assert missing.find(seen, DefectParams()) == "There is no such file."
    assert (seen.bytes, seen.photo_id, seen.photo) == (None, None, None)


def test_file_that_is_there(tmp_path, write_photo):
    seen = look(str(write_photo(tmp_path / "a.jpg")), DefectParams())
    assert missing.find(seen, DefectParams()) is None
