"""One person's opinion, and the table of them."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cannabis_ml.feedback.opinions import COLUMNS, Opinion, opinions_table

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def opinion(**changes):
    fields = {
        "opinion_id": "1",
        "photo_id": "a" * 64,
        "person": "ann",
        "head": "product_type",
        "verdict": "corrected",
        "label": "hash",
        "at": AT,
    }
    return Opinion(**(fields | changes))


def test_a_table_has_the_same_types_with_and_without_rows():
    full = opinions_table([opinion(), opinion(label=["sticky", "frosty"], confidence=0.5)])
    empty = opinions_table([])
    assert tuple(full) == tuple(empty) == COLUMNS
    assert full.dtypes.astype(str).to_dict() == empty.dtypes.astype(str).to_dict()
    assert str(full["at"].dtype) == "datetime64[us, UTC]"


def test_a_table_keeps_lists_none_and_missing_confidence():
    table = opinions_table(
        [opinion(label=["sticky", "frosty"], confidence=0.5), opinion(verdict="unsure", label=None)]
    )
    assert table["label"].tolist() == [["sticky", "frosty"], None]
    assert table["confidence"][0] == 0.5
    assert math.isnan(table["confidence"][1])
    assert table["answered"].tolist() == [None, None]
    assert table["at"][0] == AT


@pytest.mark.parametrize("verdict", ["unsure", "none_of_these"])
def test_a_verdict_without_label_refuses_one(verdict):
    with pytest.raises(ValueError, match=f"{verdict} has no label, not 'hash'"):
        opinion(verdict=verdict)


@pytest.mark.parametrize("verdict", ["confirmed", "corrected", "proposed"])
def test_a_verdict_with_label_needs_one(verdict):
    with pytest.raises(ValueError, match=f"{verdict} needs a label"):
        opinion(verdict=verdict, label=None)


def test_a_multilabel_answer_may_hold_no_class():
    assert opinion(label=[]).label == []


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.inf])
def test_confidence_is_within_0_and_1(confidence):
    with pytest.raises(ValueError, match="not in"):
        opinion(confidence=confidence)


def test_times_are_utc():
    with pytest.raises(ValueError, match="not in UTC"):
        opinion(at=AT.replace(tzinfo=None))
    with pytest.raises(ValueError, match="not in UTC"):
        opinion(at=AT.astimezone(timezone(timedelta(hours=2))))


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="'wrong' is not one of"):
        opinion(verdict="wrong")
