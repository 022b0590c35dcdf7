"""The queue: who sees which photo, how it is filled, and what erasing leaves of it."""

from datetime import timedelta

import pytest

from cannabis_ml.feedback.params import Retention
from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.photos.fingerprint import photo_id as id_of


@pytest.fixture(scope="module")
def photos(encode, draw):
    return [encode(draw(seed=seed)) for seed in range(4)]


@pytest.fixture
def files(photos, tmp_path):
    """Photos of a photo set that nobody sent: their hashes and paths."""
    found = []
    for number, photo in enumerate(photos):
        path = tmp_path / f"IMG_{number}.jpg"
        path.write_bytes(photo)
        found.append((id_of(photo), str(path)))
    return found


def entry(photo, rank=1, source="label_next", **changes):
    photo_id, path = photo
    given = {"photo_id": photo_id, "path": path, "rank": rank, "source": source}
    return QueueEntry(**given | {"kind": "margin", "reason": "the model wavers"} | changes)


def fill(store, *entries, sources=("label_next",)):
    return store.fill_queue(QueueList(sources=sources, entries=entries))


def ids(store, person="ann", enough=1, most=100):
    return [one.photo_id for one in store.waiting(person, enough, most)[1]]


def later(store, days):
    now = store.clock() + timedelta(days=days)
    store.clock = lambda: now


def judge(store, submit, photo_id, person="ann", **changes):
    opinion = {"head": "product", "verdict": "corrected", "label": "trim"}
    given = {"photo_id": photo_id, "person": person, "consent": False, "answered": None}
    given |= {"seen_answer": False, "opinions": [opinion]}
    submission = submit(**given | changes)
    store.add(submission)
    return submission.key


def test_photos_of_a_photo_set_are_taken_in_and_wait_in_order(store, files, photos):
    filled = fill(store, entry(files[0], 2), entry(files[1], 1))
    assert (filled.waiting, filled.added, filled.left_out) == (2, 2, 0)
    total, waiting = store.waiting("ann", 1, 100)
    assert total == 2
    table = store.photos().set_index("photo_id")
    sent = [table.loc[one.photo_id, "sent_sha256"] for one in waiting]
    assert sent == [[files[1][0]], [files[0][0]]]
    assert store.queued_photo(waiting[0].photo_id) == store.photo(waiting[0].photo_id)
    assert store.waiting("ann", 1, 1) == (2, waiting[:1])


def test_filling_twice_changes_nothing(store, files):
    entries = [entry(files[0], 1), entry(files[1], 2)]
    fill(store, *entries)
    before = store.waiting("ann", 1, 100), store.photos()["photo_id"].tolist()
    again = fill(store, *entries)
    assert (again.waiting, again.added, again.left_out) == (2, 0, 0)
    assert (store.waiting("ann", 1, 100), store.photos()["photo_id"].tolist()) == before


def test_photos_that_are_not_up_any_more_go_with_their_files(store, files):
    fill(store, entry(files[0]), entry(files[1], 2))
    gone = ids(store)[0]
    fill(store, entry(files[1]))
    assert len(ids(store)) == 1
    assert store.queued_photo(gone) is None
    assert store.photos()["photo_id"].tolist() == ids(store)
    assert [name for name, _, _ in store.files] == ids(store)
    assert not store.tombstones().photos


def test_a_photo_with_an_opinion_stays_in_the_store_when_it_is_not_up_any_more(
    store, files, submit
):
    fill(store, entry(files[0]))
    (photo_id,) = ids(store)
    judge(store, submit, photo_id)
    fill(store)
    assert store.photo(photo_id)
    assert store.photos()["sent_sha256"].tolist() == [[files[0][0]]]
    assert store.opinions()["photo_id"].tolist() == [photo_id]


def test_one_source_leaves_the_photos_of_another_alone(store, files):
    fill(store, entry(files[0]))
    fill(store, entry(files[1], source="audit", blind=True), sources=("audit",))
    assert len(ids(store)) == 2
    fill(store, sources=("audit",))
    assert len(ids(store)) == 1


def test_a_photo_leaves_with_an_own_opinion_or_with_enough_peoples(store, files, submit):
    fill(store, entry(files[0]), entry(files[1], 2))
    first, second = ids(store)
    judge(store, submit, first, "ann")
    assert ids(store, "ann", enough=2) == [second]
    assert ids(store, "bob", enough=2) == [first, second]
    judge(store, submit, first, "carl")
    assert ids(store, "bob", enough=2) == [second]
    assert ids(store, "bob", enough=3) == [first, second]


def test_who_is_not_sure_does_not_count_for_others(store, files, submit):
    fill(store, entry(files[0]))
    (photo_id,) = ids(store)
    judge(store, submit, photo_id, opinions=[{"head": "product", "verdict": "unsure"}])
    assert ids(store, "ann") == []
    assert ids(store, "bob") == [photo_id]


def test_an_audit_waits_for_who_has_not_seen_the_answer(store, files, submit, photos):
    receipt = store.add(submit(person="sender"), photos[0])
    fill(
        store,
        entry((receipt.photo_id, ""), source="audit", blind=True),
        sources=("audit",),
    )
    assert ids(store, "sender") == []
    assert ids(store, "ann") == [receipt.photo_id]
    judge(store, submit, receipt.photo_id, "bob", seen_answer=True)
    assert ids(store, "ann") == [receipt.photo_id]
    judge(store, submit, receipt.photo_id, "carl")
    assert ids(store, "ann") == []


def test_opinions_before_a_photo_was_put_up_do_not_take_it_out(store, submit, photos):
    photo_id = store.add(submit(person="sender"), photos[0]).photo_id
    later(store, days=1)
    fill(store, entry((photo_id, "")))
    assert ids(store, "ann") == [photo_id]


def test_a_photo_of_two_sources_is_shown_once_and_blind_if_one_wants_it_so(store, files):
    fill(store, entry(files[0], rank=5))
    audit = entry(files[0], rank=9, source="audit", kind="audit", blind=True)
    fill(store, audit, sources=("audit",))
    total, (one,) = store.waiting("ann", 1, 100)
    assert (total, one.kind, one.blind) == (1, "audit", True)


def test_suggestions_come_back_as_they_were_given(store, files):
    suggestion = {
        "bundle_id": "b-1",
        "tier": "tier3",
        "heads": {"product": {"label": "hash", "confidence": 0.75}},
    }
    fill(store, entry(files[0], suggestion=suggestion), entry(files[1], 2))
    first, second = store.waiting("ann", 1, 100)[1]
    assert first.suggestion.heads["product"].label == "hash"
    assert first.suggestion.heads["product"].confidence == 0.75
    assert second.suggestion is None


def test_unreadable_photos_are_left_out_and_cost_no_other(store, files, tmp_path):
    (tmp_path / "text.jpg").write_text("not a photo")
    bad = [("ab" * 32, str(tmp_path / "gone.jpg")), ("cd" * 32, str(tmp_path / "text.jpg"))]
    filled = fill(store, *(entry(photo) for photo in bad), entry(files[0]))
    assert (filled.waiting, filled.left_out) == (1, 2)


def test_an_erased_photo_is_not_put_up_again(store, submit, photos, tmp_path):
    photo_id = store.add(submit(person="sender"), photos[0]).photo_id
    fill(store, entry((photo_id, "")))
    data = store.photo(photo_id)
    store.erase_person("sender")
    assert ids(store) == []
    assert store.queued_photo(photo_id) is None
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(data)
    filled = fill(store, entry((photo_id, str(copy))))
    assert (filled.waiting, filled.left_out) == (0, 1)


def test_erasing_a_reviewer_leaves_photos_that_pipelines_added(store, files, submit):
    fill(store, entry(files[0]))
    (photo_id,) = ids(store)
    judge(store, submit, photo_id, "ann")
    judge(store, submit, photo_id, "bob")
    store.erase_person("ann")
    assert store.opinions()["person"].tolist() == ["bob"]
    assert store.photo(photo_id)
    assert ids(store, "carl", enough=2) == [photo_id]


def test_erasing_who_sent_it_too_leaves_a_photo_of_the_photo_set(store, files, submit, photos):
    fill(store, entry(files[0]))
    (photo_id,) = ids(store)
    store.add(submit(person="sender"), photos[0])
    store.erase_person("sender")
    assert ids(store) == [photo_id]
    assert store.photo(photo_id)


def test_a_photo_can_be_erased_and_expires_while_it_is_up(store, files):
    fill(store, entry(files[0]), entry(files[1], 2))
    store.erase_photo(ids(store)[0])
    assert len(ids(store)) == 1
    later(store, days=31)
    store.expire(Retention(photos_days=30))
    assert ids(store) == []
    assert list(store.files) == []


def test_a_hash_without_consent_gets_its_photo_when_a_pipeline_has_it(store, files, submit):
    judge(store, submit, files[0][0])
    later(store, days=1)
    fill(store, entry(files[0]))
    assert len(ids(store, "bob")) == 1


def test_lists_are_bounded(files):
    with pytest.raises(ValueError, match="500"):
        entry(files[0], reason="x" * 501)
    with pytest.raises(ValueError, match="at most 8000"):
        QueueList(sources=("audit",), entries=(entry(files[0]),) * 8001)
