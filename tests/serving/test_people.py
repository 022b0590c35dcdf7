"""A person's data: given out and erased, by keys of admins alone."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.serving.settings import hash_key, new_key

HEAD = "kind.of thing"
ADMIN, USER = new_key(), new_key()


@pytest.fixture
def client(client_of, database):
    return client_of(
        feedback={"database": database},
        key_hashes=[hash_key(USER)],
        admin_key_hashes=[hash_key(ADMIN)],
    )


def tell(client, small_bundle, person, photo, key="key-1"):
    label = small_bundle.taxonomy[HEAD].class_names[0]
    given = {
        "key": key,
        "person": person,
        "at": "2026-05-01T12:00:00Z",
        "consent": True,
        "opinions": [{"head": HEAD, "verdict": "corrected", "label": label}],
    }
    return client.post(
        "/v2/feedback",
        data={"feedback": json.dumps(given)},
        files={"photo": ("a.jpg", photo, "image/jpeg")},
        headers={"x-api-key": USER},
    )


def test_erased_is_all_of_one_person(client, small_bundle, jpeg, database, tmp_path):
    for person, color in (("ann", (200, 30, 30)), ("bob", (30, 200, 30))):
        assert tell(client, small_bundle, person, jpeg(color)).status_code == 200
    by_admin = {"x-api-key": ADMIN}
    found = client.delete("/v2/people/ann", headers=by_admin)
    assert found.json() == {"opinions": 1, "submissions": 1, "photos": 1}
    with FeedbackStore(database) as store:
        assert list(store.opinions(history=True)["person"]) == ["bob"]
        assert store.tombstones().covers_person("ann")
    assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 1
    again = client.delete("/v2/people/ann", headers=by_admin)
    assert again.json() == {"opinions": 0, "submissions": 0, "photos": 0}
    late = tell(client, small_bundle, "ann", jpeg(), key="key-2")
    assert late.status_code == 422
    assert "erased" in late.json()["detail"]


def test_given_out_is_all_of_one_person(client, small_bundle, jpeg):
    for person, color in (("ann", (200, 30, 30)), ("bob", (30, 200, 30))):
        tell(client, small_bundle, person, jpeg(color))
    found = client.get("/v2/people/ann", headers={"x-api-key": ADMIN})
    assert found.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(found.content)) as packed:
        (line,) = packed.read("feedback.jsonl").splitlines()
        photos = [name for name in packed.namelist() if name.endswith(".jpg")]
    assert json.loads(line)["submission"]["person"] == "ann"
    assert photos == [json.loads(line)["photo"]]


@pytest.mark.parametrize("method", ["get", "delete"])
def test_who_may(client, client_of, database, small_bundle, jpeg, method):
    tell(client, small_bundle, "ann", jpeg())
    ask = getattr(client, method)
    assert ask("/v2/people/ann").status_code == 401
    assert ask("/v2/people/ann", headers={"x-api-key": "guessed"}).status_code == 401
    assert ask("/v2/people/ann", headers={"x-api-key": USER}).status_code == 403
    nobody_may = client_of(feedback={"database": database})
    found = getattr(nobody_may, method)("/v2/people/ann", headers={"x-api-key": ADMIN})
    assert found.status_code == 403
    assert "admin_key_hashes" in found.json()["detail"]
    assert ask("/v2/people/nobody", headers={"x-api-key": ADMIN}).status_code == 404
    with FeedbackStore(database) as store:
        assert len(store.opinions()) == 1


def test_an_admin_may_all_else_too(client, jpeg):
    by_admin = {"x-api-key": ADMIN}
    assert client.post("/v2/analyze", content=jpeg(), headers=by_admin).status_code == 200


def test_names_that_are_none(client):
    for name in ("..%2f..%2fetc", "a%00b", "x" * 200, "a%20b"):
        found = client.delete(f"/v2/people/{name}", headers={"x-api-key": ADMIN})
        assert found.status_code in (404, 422)
