"""What people think of answers, sent over HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from cannabis_ml.feedback.store import FeedbackStore

HEAD = "kind.of thing"


@pytest.fixture
def client(client_of, database):
    return client_of(feedback={"database": database})


@pytest.fixture
def submission(small_bundle):
    """What a page sends: `submission(key="k-1")`."""
    first, second = small_bundle.taxonomy[HEAD].class_names[:2]

    def make(**changes):
        answered = {
            "bundle_id": small_bundle.manifest.content_sha256,
            "tier": "tier1",
            "decision": "accepted",
            "heads": {HEAD: {"label": first, "confidence": 0.9, "probs": {first: 0.9}}},
        }
        given = {
            "key": "key-1",
            "person": "p-1",
            "at": "2026-05-01T12:00:00Z",
            "photo_id": "ab" * 32,
            "answered": answered,
            "opinions": [
                {"head": HEAD, "verdict": "corrected", "label": second, "confidence": 0.8}
            ],
        } | changes
        return {name: value for name, value in given.items() if value is not None}

    return make


def form(submission, photo):
    return {
        "data": {"feedback": json.dumps(submission)},
        "files": {"photo": ("IMG_1.jpg", photo, "image/jpeg")},
    }


def test_an_opinion_is_in_the_store(client, submission, database):
    found = client.post("/v2/feedback", json=submission())
    assert found.status_code == 200, found.text
    assert found.json() == {"photo_id": "ab" * 32, "taken": 1, "repeated": 0, "is_retry": False}
    with FeedbackStore(database) as store:
        (row,) = store.opinions().to_dict("records")
        (answer,) = store.answers().to_dict("records")
    given = submission()
    assert (row["person"], row["head"], row["verdict"]) == ("p-1", HEAD, "corrected")
    assert row["label"] == given["opinions"][0]["label"]
    assert row["answered"] == given["answered"]["heads"][HEAD]["label"]
    assert (row["confidence"], row["answered_confidence"]) == (0.8, 0.9)
    assert (row["bundle_id"], row["tier"]) == (given["answered"]["bundle_id"], "tier1")
    assert answer["decision"] == "accepted"


def test_sent_again_it_counts_once(client, submission, database):
    client.post("/v2/feedback", json=submission())
    again = client.post("/v2/feedback", json=submission())
    assert again.status_code == 200
    assert again.json()["is_retry"]
    other = client.post("/v2/feedback", json=submission(region="ES"))
    assert other.status_code == 422
    assert "key" in other.json()["detail"]
    with FeedbackStore(database) as store:
        assert len(store.opinions(history=True)) == 1


def test_the_same_from_many_connections_at_once_counts_once(client, submission, database):
    with ThreadPoolExecutor(8) as people:
        found = list(
            people.map(lambda _: client.post("/v2/feedback", json=submission()), range(16))
        )
    assert {one.status_code for one in found} <= {200, 503}
    assert sum(one.status_code == 200 and not one.json()["is_retry"] for one in found) == 1
    with FeedbackStore(database) as store:
        assert len(store.opinions(history=True)) == 1


def photo_with_place():
    exif = Image.Exif()
    exif[0x010F], exif[0xA431] = "Maker of cameras", "SERIAL-4711"
    exif.get_ifd(0x8825)[2] = (40.0, 25.0, 0.0)
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (20, 120, 40)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_photo_is_kept_with_consent_and_without_place(client, submission, database):
    photo = photo_with_place()
    assert b"SERIAL-4711" in photo
    given = submission(photo_id=None, consent=True)
    found = client.post("/v2/feedback", **form(given, photo))
    assert found.status_code == 200, found.text
    with FeedbackStore(database) as store:
        kept = store.photo(found.json()["photo_id"])
    assert b"SERIAL" not in kept
    assert b"Maker" not in kept
    assert not Image.open(io.BytesIO(kept)).getexif()
    again = client.post("/v2/feedback", **form(given, photo))
    assert again.json()["is_retry"]


def test_photo_is_not_kept_without_consent(client, submission, tmp_path, jpeg):
    found = client.post("/v2/feedback", **form(submission(photo_id=None), jpeg()))
    assert found.status_code == 200, found.text
    assert not list((tmp_path / "photos").rglob("*.jpg"))
    by_hash = submission(key="key-2", photo_id=hashlib.sha256(jpeg()).hexdigest())
    assert client.post("/v2/feedback", json=by_hash).json() == found.json() | {
        "taken": 0,
        "repeated": 1,
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": None}, "key"),
        ({"person": "a b"}, "person"),
        ({"photo_id": None}, "photo"),
        ({"at": "2199-01-01T00:00:00Z"}, "future"),
        ({"opinions": [{"head": "none", "verdict": "unsure"}]}, "not a head"),
        ({"opinions": [{"head": HEAD, "verdict": "corrected", "label": "x"}]}, "not a class"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_refusal_has_its_reason(client, submission, database, changes, reason):
    found = client.post("/v2/feedback", json=submission(**changes))
    assert found.status_code == 422
    assert reason in found.json()["detail"]
    with FeedbackStore(database) as store:
        assert store.opinions(history=True).empty


def test_classes_of_an_older_bundle_are_left_to_vetting(client, submission):
    given = submission(opinions=[{"head": HEAD, "verdict": "corrected", "label": "gone since"}])
    given["answered"]["bundle_id"] = "an-older-one"
    assert client.post("/v2/feedback", json=given).status_code == 200


def test_bodies_of_other_kinds_and_sizes(client, submission, jpeg):
    def status(**given):
        return client.post("/v2/feedback", **given).status_code

    as_json = {"content-type": "application/json"}
    assert status(content=jpeg(), headers={"content-type": "image/jpeg"}) == 415
    assert status(content=b"{", headers=as_json) == 422
    assert status(content=b"[" * 100_000, headers=as_json) == 422
    assert status(content=b'"' + b"x" * 300_000 + b'"', headers=as_json) == 413
    assert status(content=iter([b'"'] + [b"x" * 1000] * 300), headers=as_json) == 413
    assert status(files={"photo": jpeg()}) == 400
    assert status(data={"feedback": "{}", "photo": "text"}, files={"x": b""}) == 400
    broken = form(submission(photo_id=None, consent=True), b"no photo at all")
    assert status(**broken) == 422
    assert status(**form(submission(), jpeg())) == 422  # both a photo and the name of one
    sent_as_blob = {"feedback": ("blob", json.dumps(submission()), "application/json")}
    assert status(files=sent_as_blob) == 200


def test_without_a_store_it_says_what_to_set(client_of, submission):
    found = client_of().post("/v2/feedback", json=submission())
    assert found.status_code == 503
    assert "--feedback" in found.json()["detail"]
    assert int(found.headers["retry-after"]) > 60


def test_a_store_that_fails_asks_to_come_again(client, submission, tmp_path):
    desk = client.app.state.feedback
    with desk.store.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE opinions")
    found = client.post("/v2/feedback", json=submission())
    assert found.status_code == 503
    assert found.headers["retry-after"]
    assert str(tmp_path) not in found.text
    assert desk.admission.inside == 0


def test_a_slow_store_holds_up_no_answer(client_of, database, submission, jpeg):
    client = client_of(
        feedback={"database": database, "threads": 1, "waiting": 0},
        limits={"deadline_seconds": 0.3},
    )
    go = threading.Event()
    desk = client.app.state.feedback
    desk._pool.submit(go.wait)
    try:
        assert client.post("/v2/feedback", json=submission()).status_code == 504
        with desk.admission.enter():
            assert client.post("/v2/feedback", json=submission()).status_code == 503
        assert client.post("/v2/analyze", content=jpeg()).status_code == 200
    finally:
        go.set()
    assert desk.admission.inside == 0


def test_on_postgresql(client_of, postgresql, submission, tmp_path, jpeg):
    with postgresql.server() as url:
        place = {"database": url("postgres"), "photos": str(tmp_path / "photos")}
        client = client_of(feedback=place)
        given = submission(photo_id=None, consent=True)
        assert client.post("/v2/feedback", **form(given, jpeg())).json()["taken"] == 1
        assert client.post("/v2/feedback", **form(given, jpeg())).json()["is_retry"]
        assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 1
        client.app.state.feedback.close()


def test_command_line_counts_more_than_the_file(tmp_path):
    from cannabis_ml.serving.settings import read_settings

    file = tmp_path / "service.json"
    file.write_text('{"feedback": {"database": "sqlite:///a.db", "threads": 3}}')
    found = read_settings(file, {"feedback": {"database": "sqlite:///b.db"}}).feedback
    assert (found.database, found.threads) == ("sqlite:///b.db", 3)
    assert read_settings(None, {}).feedback is None


def test_a_store_that_cannot_be_opened_ends_the_command(small_bundle, capsys):
    from cannabis_ml.serving.__main__ import main

    assert main([str(small_bundle.path), "--feedback", "mysql://host/name"]) == 2
    assert "sqlite or postgresql" in capsys.readouterr().err
