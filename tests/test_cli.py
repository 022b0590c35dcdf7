from kedro.io import DatasetError

from cannabis_ml.cli import readable_cause
from cannabis_ml.errors import SourceError


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_readable_error_is_found_below_kedros_own():
    ours = SourceError("no photos")
    assert readable_cause(raised(RuntimeError("wrapped"), raised(OSError("deep"), ours))) is ours


def test_other_errors_keep_their_traceback():
    assert readable_cause(raised(ValueError("a bug"), raised(KeyError("x")))) is None


def test_what_a_data_set_says_itself_is_readable():
    told = DatasetError("holds no photo set: run the ingestion pipeline.")
    assert readable_cause(raised(told)) is told


def test_what_kedro_wraps_is_a_bug_until_proven_otherwise():
    assert readable_cause(raised(DatasetError("Failed while loading"), KeyError("x"))) is None
