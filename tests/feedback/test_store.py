"""What is put into the store is there once, and is given back as it was."""

import hashlib
import itertools
import math
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback.opinions import COLUMNS
from cannabis_ml.photos.decode import decode

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def corrected(label="trim", head="product", **changes):
    return {"head": head, "verdict": "corrected", "label": label} | changes


def confirmed(head="product"):
    return {"head": head, "verdict": "confirmed"}


@pytest.fixture(scope="module")
def photo(encode):
    return encode()


@pytest.fixture(scope="module")
def other_photo(encode, draw):
    return encode(draw(seed=1))


def test_an_opinion_is_given_back_with_what_was_answered(store, submit, photo):
    receipt = store.add(
        submit(
            opinions=[corrected(confidence=0.7), confirmed("grade")],
            seen_answer=False,
            at="2026-05-01T10:00:00+02:00",
        ),
        photo,
    )
    assert (receipt.taken, receipt.repeated, receipt.is_retry) == (2, 0, False)
    table = store.opinions()
    assert tuple(table) == COLUMNS
    first, second = table.to_dict("records")
    assert first | {"opinion_id": "", "at": None} == {
        "opinion_id": "",
        "photo_id": receipt.photo_id,
        "person": "ann",
        "annotator": "person",
        "head": "product",
        "verdict": "corrected",
        "label": "trim",
        "confidence": 0.7,
        "seen_answer": False,
        "at": None,
        "bundle_id": "bundle-1",
        "tier": "tier1",
        "answered": "hash",
        "answered_confidence": 0.9,
        "audit": False,
        "gold": False,
    }
    assert first["at"] == datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert (second["verdict"], second["label"]) == ("confirmed", "A")
    assert math.isnan(second["confidence"])


def test_every_verdict_and_a_list_of_attributes_are_kept(store, submit, photo):
    opinions = [
        {"head": "a", "verdict": "unsure"},
        {"head": "b", "verdict": "none_of_these"},
        {"head": "c", "verdict": "proposed", "label": "kief"},
        {"head": "d", "verdict": "corrected", "label": ["sticky", "frosty"]},
        {"head": "e", "verdict": "corrected", "label": []},
    ]
    store.add(submit(opinions=opinions), photo)
    found = store.opinions().set_index("head")["label"].to_dict()
    assert found == {"a": None, "b": None, "c": "kief", "d": ["frosty", "sticky"], "e": []}


def test_a_retry_with_the_same_key_changes_nothing(store, submit, photo):
    submission = submit()
    first = store.add(submission, photo)
    again = store.add(submission, photo)
    assert (again.photo_id, again.taken, again.is_retry) == (first.photo_id, 0, True)
    assert len(store.opinions(history=True)) == store.summary().submissions == 1


def test_many_at_once_are_taken_in_as_one_by_one(store, submit, encode, draw):
    photos = [encode(draw(i)) for i in range(3)]
    first = submit()
    store.add(first, photos[0])
    late = submit(at="2099-01-01T00:00:00Z")
    items = [
        (first, photos[0]),  # a retry
        (submit(person="bob"), photos[1]),
        (submit(person="bob"), photos[1]),  # the same opinion again
        (late, photos[2]),
        (submit(person="eve"), b"no photo"),
        (submit(person="eve"), photos[2]),
    ]
    found = store.add_all(items)
    assert found[0].is_retry
    assert [(one.taken, one.repeated) for one in (found[1], found[2], found[5])] == [
        (1, 0),
        (0, 1),
        (1, 0),
    ]
    assert "in the future" in str(found[3])
    assert isinstance(found[4], FeedbackRefusedError)
    assert sorted(store.opinions()["person"]) == ["ann", "bob", "eve"]
    assert store.add_all([]) == []


def test_one_who_was_erased_costs_the_others_of_a_batch_nothing(store, submit, photo):
    store.add(submit(person="gone"), photo)
    store.erase_person("gone")
    found = store.add_all([(submit(person=name), photo) for name in ("bob", "gone", "eve")])
    assert [getattr(one, "taken", None) for one in found] == [1, None, 1]
    assert "was erased on request" in str(found[1])
    assert sorted(store.opinions()["person"]) == ["bob", "eve"]


def test_a_key_used_for_something_else_is_refused(store, submit, photo, other_photo):
    store.add(submit(key="k"), photo)
    for changed, sent in (
        (submit(key="k", opinions=[confirmed()]), photo),
        (submit(key="k"), other_photo),
    ):
        with pytest.raises(FeedbackRefusedError, match="was used for another submission"):
            store.add(changed, sent)
    assert store.add(submit(key="k", person="bob"), photo).taken == 1


def test_the_same_person_thinking_the_same_twice_is_one(store, submit, photo):
    store.add(submit(), photo)
    receipt = store.add(submit(at="2026-05-01T11:00:00Z"), photo)
    assert (receipt.taken, receipt.repeated) == (0, 1)
    assert len(store.opinions(history=True)) == 1


def test_many_people_may_think_the_same_of_one_photo(store, submit, photo):
    ids = {store.add(submit(person=name), photo).photo_id for name in ("ann", "bob", "eve")}
    table = store.opinions()
    assert len(ids) == 1
    assert sorted(table["person"]) == ["ann", "bob", "eve"]
    assert table["opinion_id"].is_unique


def test_a_change_of_mind_replaces_and_stays_in_the_history(store, submit, photo):
    for hour, label in ((1, "trim"), (2, "extract"), (3, "trim")):
        at = f"2026-05-01T0{hour}:00:00Z"
        store.add(submit(opinions=[corrected(label)], at=at), photo)
    assert store.opinions()["label"].tolist() == ["trim"]
    assert store.opinions(history=True)["label"].tolist() == ["trim", "extract", "trim"]


def test_what_arrives_late_does_not_replace_a_later_opinion(store, submit, photo):
    store.add(submit(opinions=[corrected("extract")], at="2026-05-01T02:00:00Z"), photo)
    store.add(submit(opinions=[corrected("trim")], at="2026-05-01T01:00:00Z"), photo)
    assert store.opinions()["label"].tolist() == ["extract"]


def test_the_same_opinion_on_another_bundles_answer_counts_for_that_bundle(store, submit, photo):
    store.add(submit(opinions=[confirmed()]), photo)
    answer = {"bundle_id": "bundle-2", "tier": "tier3", "heads": {"product": {"label": "hash"}}}
    store.add(submit(opinions=[confirmed()], answered=answer), photo)
    assert store.opinions()["bundle_id"].tolist() == ["bundle-2"]


def test_an_answer_alone_is_kept_without_an_opinion(store, submit, photo):
    receipt = store.add(submit(opinions=[]), photo)
    assert store.opinions().empty
    answers = store.answers().set_index("head")
    assert answers["answered"].to_dict() == {"product": "hash", "grade": "A"}
    assert answers["answered_confidence"].to_dict() == {"product": 0.9, "grade": 0.6}
    assert answers["probs"].to_dict() == {"product": {"hash": 0.9}, "grade": {}}
    assert set(answers["photo_id"]) == {receipt.photo_id}


def test_the_tables_have_the_same_types_when_empty(store, submit, photo):
    before = [table().dtypes.astype(str).to_dict() for table in (store.answers, store.photos)]
    store.add(submit(), photo)
    after = [table().dtypes.astype(str).to_dict() for table in (store.answers, store.photos)]
    assert before == after


def test_a_photo_is_kept_only_with_consent(store, submit, photo):
    without = store.add(submit(consent=False), photo)
    with pytest.raises(FeedbackError, match="nobody consented"):
        store.photo(without.photo_id)
    assert store.photos()["address"].tolist() == [""]
    receipt = store.add(submit(person="bob"), photo)
    assert receipt.photo_id == without.photo_id
    assert np.array_equal(decode(store.photo(receipt.photo_id)), decode(photo))


def test_a_photo_that_was_never_sent_may_have_opinions(store, submit):
    receipt = store.add(submit(photo_id="a" * 64))
    assert receipt.photo_id == "a" * 64
    assert store.photos()["kept"].tolist() == [False]


def test_a_photo_is_found_by_the_hash_of_the_file_that_was_sent(store, submit, photo):
    stored = store.add(submit(), photo).photo_id
    sent = store.photos()["sent_sha256"][0]
    assert store.add(submit(person="bob", photo_id=sent[0])).photo_id == stored
    assert store.add(submit(person="eve", photo_id=stored)).photo_id == stored


def test_a_stored_photo_sent_again_is_the_same_photo(store, submit, photo):
    stored = store.add(submit(), photo).photo_id
    assert store.add(submit(person="bob"), store.photo(stored)).photo_id == stored


def test_either_the_photo_or_its_id_is_needed(store, submit, photo):
    for named, sent in ((None, None), ("a" * 64, photo)):
        with pytest.raises(FeedbackRefusedError, match="either the photo or the photo_id"):
            store.add(submit(photo_id=named), sent)


def test_a_time_in_the_future_is_refused(store, submit, photo):
    store.add(submit(at=(NOW + timedelta(hours=23)).isoformat()), photo)
    with pytest.raises(FeedbackRefusedError, match="is in the future"):
        store.add(submit(at=(NOW + timedelta(hours=25)).isoformat()), photo)


def test_metadata_device_and_region_are_given_with_the_photo(store, submit, photo):
    details = {"strain": "O'Brien's; DROP TABLE people; --", "grower": "Jürgen 🌱", "indoor": True}
    store.add(submit(metadata=details, device="Pixel 8", region="US-CA"), photo)
    row = store.photos().iloc[0]
    assert (row["metadata"], row["device"], row["region"]) == (details, "Pixel 8", "US-CA")
    assert (row["width"], row["height"]) == (48, 40)
    assert store.summary().people == 1


def test_the_summary_counts_what_counts(store, submit, photo, other_photo):
    store.add(submit(opinions=[corrected("trim"), confirmed("grade")]), photo)
    store.add(submit(person="bob", opinions=[corrected("extract"), corrected("C", "grade")]), photo)
    store.add(submit(person="eve", opinions=[corrected("trim")]), other_photo)
    store.add(submit(person="eve", opinions=[confirmed()]), other_photo)  # a change of mind
    proposal = {"head": "product", "verdict": "proposed", "label": "kief"}
    for name in ("dan", "fay"):
        store.add(submit(person=name, opinions=[proposal]), photo)
    summary = store.summary()
    assert (summary.people, summary.photos, summary.photos_kept) == (5, 2, 2)
    assert (summary.submissions, summary.opinions) == (6, 7)
    assert summary.by_verdict == {
        "confirmed": 2, "corrected": 3, "unsure": 0, "none_of_these": 0, "proposed": 2,
    }  # fmt: skip
    assert summary.most_corrected == [("product", "hash", 2), ("grade", "A", 1)]
    assert summary.proposed == [("product", "kief", 2)]
    assert summary.first == summary.last == NOW


def test_a_reader_in_the_middle_of_reading_holds_up_no_writer(store, submit, photo):
    store.add(submit(), photo)
    with store.database.reading() as connection:
        query = "SELECT count(*) FROM opinions"
        before = connection.exec_driver_sql(query).scalar()
        store.add(submit(person="bob"), photo)
        assert connection.exec_driver_sql(query).scalar() == before == 1
    assert len(store.opinions()) == 2


def test_one_person_sending_the_same_at_once_is_one(store, submit, photo):
    same = submit()
    ways = [same, same, submit(), submit(), submit(opinions=[corrected("extract")])]
    threads = [threading.Thread(target=store.add, args=(way, photo)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.opinions()) == 1
    history = store.opinions(history=True)["label"].tolist()
    assert all(one != two for one, two in itertools.pairwise(history))


steps = st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from("xyz"), st.integers(0, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(arrivals=st.lists(steps, min_size=1, max_size=8))
def test_in_whatever_order_opinions_come_the_latest_counts_and_none_repeats(
    store, submit, arrivals
):
    name = submit().key  # of a photo of its own
    photo_id = hashlib.sha256(name.encode()).hexdigest()
    for person, label, minute in arrivals:
        at = f"2026-05-01T10:0{minute}:00Z"
        store.add(submit(person=person, opinions=[corrected(label)], at=at, photo_id=photo_id))
    history = store.opinions(history=True).query("photo_id == @photo_id")
    latest = store.opinions().query("photo_id == @photo_id").set_index("person")
    assert set(latest.index) == {person for person, _, _ in arrivals}
    said = {person: label for person, label, _ in sorted(arrivals, key=lambda one: one[2])}
    assert latest["label"].to_dict() == said
    for person, own in history.sort_values("at", kind="stable").groupby("person"):
        assert (own["label"].iloc[-1], own["at"].iloc[-1]) == tuple(
            latest.loc[person, ["label", "at"]]
        )
        assert all(one != two for one, two in itertools.pairwise(own["label"]))


def test_a_photo_changed_on_disk_is_noticed(store, submit, photo, tmp_path):
    stored = store.add(submit(), photo).photo_id
    (file,) = (tmp_path / "photos").rglob("*.jpg")
    file.write_bytes(photo + b"x")
    with pytest.raises(FeedbackError, match="was changed after it was stored"):
        store.photo(stored)
    file.unlink()
    with pytest.raises(FeedbackError, match="is missing"):
        store.photo(stored)
