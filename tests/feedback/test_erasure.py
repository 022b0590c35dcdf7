"""What is erased is gone: from rows, files and what the database file holds."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback.params import Retention
from cannabis_ml.feedback.tables import metadata


@pytest.fixture(scope="module")
def photos(encode, draw):
    return [encode(draw(seed=seed)) for seed in range(3)]


def everything(store):
    """All bytes that the store holds, wherever: of SQLite the files, of PostgreSQL all rows."""
    found = [file.read_bytes() for file in store_files(store)]
    found += [str(file).encode() for file in store_files(store)]
    if store.database.is_sqlite:
        file = Path(store.database.engine.url.database)
        found += [path.read_bytes() for path in file.parent.glob(file.name + "*")]
    with store.database.reading() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(text(f"SELECT * FROM {table.name}")).all()
            found += [repr(tuple(row)).encode() for row in rows]
    return b"\n".join(found)


def store_files(store):
    return [path for path in Path(store.files._root).rglob("*") if path.is_file()]


def test_nothing_of_an_erased_person_can_be_found(store, submit, photos):
    details = {"metadata": {"strain": "Zkittlez"}, "device": "Pixel 8", "region": "Oaxaca"}
    opinions = [{"head": "product", "verdict": "proposed", "label": "moonrock"}]
    for number, photo in enumerate(photos):
        secret = {"person": "erica-77", "key": f"secretkey{number}", "opinions": opinions}
        receipt = store.add(submit(**secret, **details), photo)
    store.add(submit(person="bob"), photos[0])
    row = store.photos().iloc[-1]
    traces = [b"erica-77", b"secretkey", b"Zkittlez", b"Pixel 8", b"Oaxaca", b"moonrock"]
    traces += [receipt.photo_id.encode(), row["sent_sha256"][0].encode()]
    traces += [store.photo(receipt.photo_id)]
    before = everything(store)
    assert [trace for trace in traces if trace not in before] == []

    erased = store.erase_person("erica-77")

    after = everything(store)
    assert [trace for trace in traces if trace in after] == []
    assert (erased.opinions, erased.submissions, erased.photos) == (3, 3, 2)
    assert store.opinions()["person"].tolist() == ["bob"]


def test_a_photo_stays_for_who_sent_it_too_and_consents(store, submit, photos):
    shared = store.add(submit(person="ann"), photos[0]).photo_id
    store.add(submit(person="bob"), photos[0])
    store.add(submit(person="eve", consent=False), photos[0])
    assert store.erase_person("ann").photos == 0
    assert store.photo(shared)
    assert not store.tombstones().covers_photo(shared)
    assert store.erase_person("bob").photos == 1  # eve never let it be kept
    assert store_files(store) == []
    assert store.tombstones().covers_photo(shared)
    assert store.opinions()["person"].tolist() == ["eve"]


def test_opinions_of_others_go_with_a_photo_that_only_one_sent(store, submit, photos):
    photo_id = store.add(submit(person="ann"), photos[0]).photo_id
    store.add(submit(person="bob", photo_id=photo_id))
    store.add(submit(person="bob"), photos[1])
    erased = store.erase_person("ann")
    assert (erased.opinions, erased.photos) == (2, 1)
    assert photo_id not in set(store.opinions()["photo_id"])
    assert store.photos()["kept"].tolist() == [True]


def test_tombstones_name_what_others_must_drop(store, submit, photos):
    gone = store.add(submit(person="ann"), photos[0]).photo_id
    kept = store.add(submit(person="bob"), photos[1]).photo_id
    store.erase_person("ann")
    tombstones = store.tombstones()
    assert tombstones.covers_photo(gone)
    assert tombstones.covers_person("ann")
    assert not tombstones.covers_photo(kept)
    assert not tombstones.covers_person("bob")


def test_a_photo_that_is_given_again_may_be_used_again(store, submit, photos):
    gone = store.add(submit(person="ann"), photos[0]).photo_id
    store.erase_person("ann")
    store.add(submit(person="bob"), photos[0])
    assert not store.tombstones().covers_photo(gone)
    assert store.photo(gone)


def test_what_an_erased_person_sends_late_is_refused(store, submit, photos):
    late = submit(person="ann")
    store.add(late, photos[0])
    store.erase_person("ann")
    for sent in (late, submit(person="ann")):
        with pytest.raises(FeedbackRefusedError, match="was erased on request"):
            store.add(sent, photos[0])
    assert store.summary().people == 0


def test_erasing_again_is_no_error_but_a_stranger_is(store, submit, photos):
    store.add(submit(person="ann"), photos[0])
    store.erase_person("ann")
    assert store.erase_person("ann").submissions == 0
    with pytest.raises(FeedbackError, match="There is no person 'nobody'"):
        store.erase_person("nobody")


def test_an_erasure_that_was_killed_before_the_files_is_finished_by_the_next(
    store, submit, photos, monkeypatch
):
    store.add(submit(person="ann"), photos[0])

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            store.erase_person("ann")
    assert len(store_files(store)) == 1
    store.erase_person("ann")
    assert store_files(store) == []


def test_a_photo_sent_again_before_its_file_went_keeps_it(store, submit, photos, monkeypatch):
    photo_id = store.add(submit(person="ann"), photos[0]).photo_id
    with monkeypatch.context() as patch:
        patch.setattr("cannabis_ml.feedback.erasure.remove_files", lambda *_: 0)
        store.erase_person("ann")
    store.add(submit(person="bob"), photos[0])
    store.add(submit(person="eve"), photos[1])
    store.erase_person("eve")
    assert store.photo(photo_id)


def test_one_photo_is_erased_with_all_opinions_on_it(store, submit, photos):
    gone = store.add(submit(person="ann"), photos[0]).photo_id
    store.add(submit(person="bob"), photos[0])
    store.add(submit(person="ann"), photos[1])
    store.mark_audit([gone], 0.1)
    store.mark_gold({(gone, "product"): "hash"})
    erased = store.erase_photo(gone)
    assert (erased.opinions, erased.submissions, erased.photos) == (2, 2, 1)
    assert store.summary().photos == 1
    with pytest.raises(FeedbackError, match="is not in the store"):
        store.erase_photo(gone)


@pytest.fixture
def later(store, submit, photos):
    """Photos of 10 days ago and of today; the store's clock."""
    now = store.clock()
    store.clock = lambda: now - timedelta(days=10)
    old = submit(person="ann", device="phone", at=(now - timedelta(days=10)).isoformat())
    store.add(old, photos[0])
    store.clock = lambda: now
    store.add(submit(person="bob", device="tablet"), photos[1])
    return store


def test_what_is_older_than_configured_goes(later):
    later.expire(Retention(photos_days=9))
    assert later.opinions()["person"].tolist() == ["bob"]
    assert (later.summary().photos, len(store_files(later)), later.summary().people) == (1, 1, 1)


def test_opinions_may_go_and_photos_stay(later):
    later.expire(Retention(opinions_days=9))
    assert later.opinions()["person"].tolist() == ["bob"]
    assert (later.summary().photos, len(store_files(later))) == (2, 2)


def test_an_opinion_given_again_counts_when_the_first_one_expires(later, submit, photos):
    later.add(submit(person="ann", key="again", at=later.clock().isoformat()), photos[0])
    assert sorted(later.opinions()["person"]) == ["ann", "bob"]
    later.expire(Retention(opinions_days=9))
    assert sorted(later.opinions()["person"]) == ["ann", "bob"]


def test_details_may_go_and_opinions_stay(later):
    later.expire(Retention(details_days=9))
    assert later.photos()["device"].tolist() == ["", "tablet"]
    assert len(later.opinions()) == 2


def test_without_configuration_nothing_goes(later):
    assert later.expire(Retention()).submissions == 0
    assert later.expire(Retention(photos_days=11, opinions_days=11, details_days=11)).photos == 0
    assert later.summary().submissions == 2


def test_files_that_a_killed_process_left_are_swept_up_after_an_hour(store, submit, photos):
    store.add(submit(), photos[0])
    (kept,) = store_files(store)
    root = kept.parents[1]
    old, new, part = (
        root / name[:2] / name
        for name in ("b" * 64 + ".jpg", "c" * 64 + ".jpg", "d" * 64 + ".jpg.0a1b2c3d.part")
    )
    for file in (old, new, part):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"left")
    for file in (kept, old, part):
        os.utime(file, (time.time() - 4000,) * 2)
    store.expire(Retention())
    assert sorted(store_files(store)) == sorted([kept, new])


def test_marks_are_shown_with_opinions_and_answers(store, submit, photos):
    audited = store.add(submit(), photos[0]).photo_id
    gold = store.add(submit(opinions=[{"head": "grade", "verdict": "unsure"}]), photos[1]).photo_id
    store.mark_audit([audited], 0.25)
    store.mark_audit([audited], 0.5)  # drawn already
    store.mark_gold({(gold, "grade"): "A", (gold, "look"): ["b", "a"]})
    store.mark_gold({(gold, "grade"): "B"})
    opinions = store.opinions().set_index("photo_id")
    assert opinions["audit"].to_dict() == {audited: True, gold: False}
    assert opinions["gold"].to_dict() == {audited: False, gold: True}
    answers = store.answers().set_index(["photo_id", "head"])
    assert answers["audit_probability"].dropna().to_dict() == {
        (audited, "product"): 0.25, (audited, "grade"): 0.25,
    }  # fmt: skip
    assert store.gold()[["head", "label"]].to_numpy().tolist() == [
        ["grade", "B"], ["look", ["a", "b"]],
    ]  # fmt: skip
    with pytest.raises(FeedbackError, match="is not in the store"):
        store.mark_audit(["f" * 64], 0.5)
