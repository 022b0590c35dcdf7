"""The queue, its photos and taking opinions back, over HTTP."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.photos.fingerprint import photo_id as id_of
from cannabis_ml.serving.settings import hash_key, new_key

HEAD = "kind.of thing"
REVIEWER, ADMIN, USER = new_key(), new_key(), new_key()
BY_REVIEWER = {"x-api-key": REVIEWER}


@pytest.fixture
def client(client_of, database):
    return client_of(
        feedback={"database": database},
        key_hashes=[hash_key(USER)],
        reviewer_key_hashes=[hash_key(REVIEWER)],
        admin_key_hashes=[hash_key(ADMIN)],
    )


def with_place(color):
    """A large JPEG that tells where it was taken and which way is up."""
    image, exif = Image.new("RGB", (3000, 2000), color), Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8825)[1] = "N"
    held = io.BytesIO()
    image.save(held, "JPEG", exif=exif)
    return held.getvalue()


@pytest.fixture
def queue(client, database, tmp_path, small_bundle):
    """Ids of two photos that are up; the second is an audit."""
    label = small_bundle.taxonomy[HEAD].class_names[0]
    suggestion = {
        "bundle_id": "b-1",
        "tier": "tier2",
        "heads": {HEAD: {"label": label, "confidence": 0.7}},
    }
    entries = []
    for number, color in enumerate([(200, 30, 30), (30, 200, 30)]):
        data = with_place(color)
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        is_audit = number == 1
        entries.append(
            QueueEntry(
                photo_id=id_of(data),
                path=str(path),
                source="audit" if is_audit else "label_next",
                rank=number + 1,
                kind="audit" if is_audit else "margin",
                reason="because",
                blind=is_audit,
                suggestion=suggestion,
            )
        )
    with FeedbackStore(database) as store:
        store.fill_queue(QueueList(sources=("audit", "label_next"), entries=tuple(entries)))
        return [one.photo_id for one in store.waiting("nobody", 1, 9)[1]]


def ask(client, person="ann", key=REVIEWER, **params):
    return client.get("/v2/queue", params={"person": person, **params}, headers={"x-api-key": key})


def say(client, photo_id, small_bundle, key="key-1", person="ann"):
    label = small_bundle.taxonomy[HEAD].class_names[1]
    told = {
        "key": key,
        "person": person,
        "at": "2026-05-01T12:00:00Z",
        "photo_id": photo_id,
        "seen_answer": False,
        "opinions": [{"head": HEAD, "verdict": "corrected", "label": label}],
    }
    return client.post("/v2/feedback", json=told, headers=BY_REVIEWER)


def take_back(client, key="key-1", person="ann"):
    return client.delete(f"/v2/feedback/{key}", params={"person": person}, headers=BY_REVIEWER)


def waiting(client, person="ann"):
    return [one["photo_id"] for one in ask(client, person).json()["photos"]]


def test_photos_wait_with_reason_heads_and_suggestion(client, queue, small_bundle):
    found = ask(client)
    assert found.status_code == 200, found.text
    told = found.json()
    assert (told["waiting"], [one["photo_id"] for one in told["photos"]]) == (2, queue)
    first, second = told["photos"]
    assert (first["kind"], first["reason"], first["blind"]) == ("margin", "because", False)
    assert (second["kind"], second["blind"]) == ("audit", True)
    label = small_bundle.taxonomy[HEAD].class_names[0]
    assert first["suggestion"]["heads"][HEAD] == {"label": label, "confidence": 0.7}
    names = [head["name"] for head in told["heads"]]
    assert names == [head.name for head in small_bundle.taxonomy.heads]
    assert told["heads"][0]["classes"][0]["name"]
    assert ask(client, limit=1).json()["photos"] == [first]


def test_an_opinion_takes_a_photo_out_and_undo_puts_it_back(client, queue, small_bundle, database):
    assert say(client, queue[0], small_bundle).status_code == 200
    assert waiting(client) == waiting(client, "bob") == queue[1:]
    undone = take_back(client)
    assert undone.status_code == 200
    assert undone.json() == {"photo_id": queue[0], "withdrawn": 1}
    assert take_back(client).json()["withdrawn"] == 0
    assert waiting(client) == queue
    # What the phone still sends again changes nothing.
    assert say(client, queue[0], small_bundle).json()["is_retry"]
    with FeedbackStore(database) as store:
        assert store.opinions().empty


def test_nobody_takes_back_for_another(client, queue, small_bundle):
    say(client, queue[0], small_bundle)
    for key, person in (("key-1", "bob"), ("key-2", "ann")):
        found = take_back(client, key, person)
        assert found.status_code == 404
        assert "nothing under this key" in found.json()["detail"]
    assert waiting(client) == queue[1:]


def test_photos_are_small_upright_and_without_metadata(client, queue):
    found = client.get(f"/v2/photos/{queue[0]}?side=600", headers=BY_REVIEWER)
    assert found.status_code == 200
    assert found.headers["content-type"] == "image/jpeg"
    assert found.headers["cache-control"] == "no-store"
    image = Image.open(io.BytesIO(found.content))
    assert image.size == (400, 600)
    assert not image.getexif()
    assert b"Maker" not in found.content


def test_only_photos_that_are_up_are_given_out(client, queue, database, jpeg):
    told = {
        "feedback": '{"key": "k", "person": "p", "at": "2026-05-01T12:00:00Z", "consent": true,'
        ' "opinions": [{"head": "grade", "verdict": "unsure"}]}'
    }
    files = {"photo": ("a.jpg", jpeg((1, 2, 3)), "image/jpeg")}
    sent = client.post("/v2/feedback", data=told, files=files, headers=BY_REVIEWER)
    assert sent.status_code == 200
    for photo_id in (sent.json()["photo_id"], "ab" * 32):
        found = client.get(f"/v2/photos/{photo_id}", headers=BY_REVIEWER)
        assert found.status_code == 404
        assert found.json()["detail"] == "This photo is not up for review."


@pytest.mark.parametrize("path", ["/v2/queue?person=ann", f"/v2/photos/{'ab' * 32}"])
def test_who_may_look_at_peoples_photos(client, client_of, database, path):
    def status(client, key):
        return client.get(path, headers={"x-api-key": key}).status_code

    assert status(client, ADMIN) in (200, 404)
    assert (status(client, USER), status(client, "none")) == (403, 401)
    open_to_all = client_of(feedback={"database": database})
    found = open_to_all.get(path)
    assert found.status_code == 403
    assert "reviewer_key_hashes" in found.json()["detail"]


def test_so_many_opinions_are_asked_for_as_configured(client_of, queue, database, small_bundle):
    client = client_of(
        feedback={"database": database, "opinions_per_photo": 2},
        reviewer_key_hashes=[hash_key(REVIEWER)],
    )
    say(client, queue[0], small_bundle)
    assert waiting(client, "bob") == queue
    say(client, queue[0], small_bundle, person="carl")
    assert waiting(client, "bob") == queue[1:]


@pytest.mark.parametrize("params", [{}, {"person": "<b>"}, {"person": "ann", "limit": 0}])
def test_wrong_parameters_are_refused(client, params):
    assert client.get("/v2/queue", params=params, headers=BY_REVIEWER).status_code == 422


def test_without_a_store_nothing_waits(client_of):
    client = client_of(reviewer_key_hashes=[hash_key(REVIEWER)])
    assert ask(client).status_code == 503
