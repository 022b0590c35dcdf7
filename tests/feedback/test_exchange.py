"""What is exported can be imported, into the same store, another one or another database."""

import json

import pytest

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.exchange import export, import_folder
from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.photos.fingerprint import photo_id as id_of


@pytest.fixture
def filled(store, submit, encode, draw):
    """Two people, a photo of each, one that nobody may keep; marks; one person erased."""
    photos = [encode(draw(seed=seed)) for seed in range(4)]
    opinions = [
        {"head": "product", "verdict": "corrected", "label": "trim", "confidence": 0.8},
        {"head": "grade", "verdict": "confirmed"},
    ]
    first = store.add(submit(opinions=opinions, metadata={"strain": "Ünder"}), photos[0]).photo_id
    later = [{"head": "product", "verdict": "unsure"}]
    store.add(submit(opinions=later, at="2026-05-01T12:01:00Z"), photos[0])
    store.add(submit(person="bob", seen_answer=False, device="Pixel"), photos[1])
    store.add(submit(person="bob", photo_id=first))
    store.add(submit(person="bob", consent=False), photos[2])
    store.add(submit(person="eve"), photos[3])
    store.erase_person("eve")
    store.mark_audit([first], 0.2)
    store.mark_gold({(first, "grade"): "A"})
    return store


def everything(store):
    tables = [store.opinions(history=True), store.answers(), store.photos(), store.gold()]
    tables = [table.drop(columns="address", errors="ignore") for table in tables]
    return [table.sort_values(list(table)[:2]).to_json(orient="records") for table in tables]


def test_a_store_moves_to_another_one_unchanged(filled, tmp_path):
    exported = export(filled, tmp_path / "out")
    assert (exported.submissions, exported.photos) == (5, 2)
    url = f"sqlite:///{tmp_path}/other/feedback.db"
    with FeedbackStore(url, clock=filled.clock) as other:
        imported = import_folder(other, tmp_path / "out")
        assert (imported.submissions, imported.opinions, imported.refused) == (5, 6, ())
        assert everything(other) == everything(filled)
        assert other.summary() == filled.summary()
        assert other.tombstones() == filled.tombstones()
        kept = filled.photos().query("kept")["photo_id"]
        assert [other.photo(i) for i in kept] == [filled.photo(i) for i in kept]


def test_photos_that_pipelines_added_move_with_the_opinions_on_them(
    store, submit, encode, draw, tmp_path
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(draw(seed=9)))
    given = {"photo_id": id_of(path.read_bytes()), "path": str(path), "source": "label_next"}
    entry = QueueEntry(**given, rank=1, kind="margin", reason="the model wavers")
    store.fill_queue(QueueList(sources=("label_next",), entries=(entry,)))
    (one,) = store.waiting("ann", 1, 9)[1]
    store.add(submit(photo_id=one.photo_id, consent=False, answered=None, seen_answer=False))
    assert export(store, tmp_path / "out").photos == 1
    url = f"sqlite:///{tmp_path}/other/feedback.db"
    with FeedbackStore(url, clock=store.clock) as other:
        assert import_folder(other, tmp_path / "out").refused == ()
        assert everything(other) == everything(store)
        assert other.photo(one.photo_id) == store.photo(one.photo_id)
        assert other.photos()["sent_sha256"].tolist() == [[given["photo_id"]]]


def test_importing_what_is_there_changes_nothing(filled, tmp_path):
    before = everything(filled)
    export(filled, tmp_path / "out")
    imported = import_folder(filled, tmp_path / "out")
    assert (imported.submissions, imported.retries, imported.refused) == (0, 5, ())
    assert everything(filled) == before


def test_a_photo_that_was_erased_since_does_not_return_with_an_old_export(filled, tmp_path):
    export(filled, tmp_path / "out")
    erased, kept = filled.photos().query("kept")["photo_id"]
    filled.erase_photo(erased)
    stones = filled.tombstones()
    imported = import_folder(filled, tmp_path / "out")
    assert {reason for _, reason in imported.refused} == {
        "photo: was erased here; its sender may send it anew"
    }
    assert filled.tombstones() == stones
    assert filled.photos().query("kept")["photo_id"].tolist() == [kept]


def test_a_persons_export_holds_theirs_and_nothing_of_others(filled, tmp_path):
    exported = export(filled, tmp_path / "bob", person="bob")
    assert (exported.submissions, exported.photos) == (3, 1)
    text = (tmp_path / "bob/feedback.jsonl").read_text("utf-8")
    assert "ann" not in {json.loads(line)["submission"]["person"] for line in text.splitlines()}
    assert "Ünder" not in text
    assert not (tmp_path / "bob/marks.json").exists()
    (file,) = (tmp_path / "bob/photos").iterdir()
    assert file.read_bytes() == filled.photo(file.stem)
    with pytest.raises(FeedbackError, match="nothing of a person 'zoe'"):
        export(filled, tmp_path / "zoe", person="zoe")
    assert not (tmp_path / "zoe").exists()


def test_an_export_overwrites_nothing(filled, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FeedbackError, match="is there already"):
        export(filled, tmp_path / "out")


def test_a_bad_record_costs_no_other(filled, tmp_path):
    export(filled, tmp_path / "out")
    file = tmp_path / "out/feedback.jsonl"
    lines = file.read_text("utf-8").splitlines()
    outside = json.loads(lines[0])
    outside["photo"] = "photos/../../../etc/passwd"
    outside["submission"]["key"] = "outside"
    missing = json.loads(lines[0]) | {"photo": f"photos/{'a' * 64}.jpg"}
    missing["submission"]["key"] = "missing"
    bad = [json.dumps(outside), json.dumps(missing), "{", "", lines[0].replace("trim", "<b>")]
    file.write_text("\n".join([*bad, *lines]) + "\n", "utf-8")
    with FeedbackStore(f"sqlite:///{tmp_path}/other/feedback.db", clock=filled.clock) as other:
        imported = import_folder(other, tmp_path / "out")
        assert imported.submissions == 5
        assert [where for where, _ in imported.refused] == [
            f"feedback.jsonl, line {number}" for number in range(1, 6)
        ]
        assert "photo: String should match pattern" in imported.refused[0][1]
        assert "cannot be read" in imported.refused[1][1]
        assert "must not hold '<'" in imported.refused[4][1]


def test_a_folder_of_something_else_is_refused(store, tmp_path):
    with pytest.raises(FeedbackError, match="is not an export of feedback"):
        import_folder(store, tmp_path)
