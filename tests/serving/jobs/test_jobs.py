"""Many photos, answered at leisure."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.jobs.board import LeftError
from cannabis_ml.serving.jobs.records import MOST_TRIES, NewPhoto
from cannabis_ml.serving.jobs.store import JobStore
from cannabis_ml.serving.jobs.unpacking import Sent
from cannabis_ml.serving.settings import ServiceSettings, hash_key, new_key

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 120, 120), (90, 90, 140)]


@pytest.fixture
def place(database):
    return {"database": database}


@pytest.fixture
def client(client_of, place):
    return client_of(feedback=place, jobs={"poll_seconds": 0.05})


@pytest.fixture
def photos(jpeg):
    return [(f"{i}.jpg", jpeg(color)) for i, color in enumerate(COLORS)]


def form(photos):
    return [("photo", (name, data, "image/jpeg")) for name, data in photos]


def archive(photos, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as packed:
        for name, data in photos:
            packed.writestr(name, data)
    return file.getvalue()


def sent(client, photos, **options):
    found = client.post("/v2/jobs", files=form(photos), **options)
    assert found.status_code == 202, found.text
    assert found.headers["location"] == f"/v2/jobs/{found.json()['id']}"
    return found.json()["id"]


def lines(client, job, **query):
    found = client.get(f"/v2/jobs/{job}/results", params=query)
    assert found.status_code == 200, found.text
    assert found.headers["content-type"].startswith("application/jsonl")
    return [json.loads(line) for line in found.text.splitlines()]


def left(tmp_path):
    return [path for path in (tmp_path / "photos").rglob("*") if path.is_file()]


def test_results_are_those_of_single_requests(client, photos, tmp_path):
    job = sent(client, photos)
    results = lines(client, job)
    assert [one["place"] for one in results] == list(range(1, len(photos) + 1))
    assert sorted(one["number"] for one in results) == list(range(len(photos)))
    for one in results:
        name, data = photos[one["number"]]
        expected = client.post("/v2/analyze", content=data).json()
        assert one["name"] == name
        assert one["report"] == expected
        assert one["problem"] is None
    status = client.get(f"/v2/jobs/{job}").json()
    assert (status["state"], status["photos"], status["done"]) == ("done", 5, 5)
    assert not left(tmp_path)


@pytest.mark.parametrize("as_body", [True, False])
def test_an_archive(client, photos, as_body):
    packed = archive(
        [
            ("folder/", b""),
            *((f"folder/{name}", data) for name, data in photos),
            ("__MACOSX/._0.jpg", b"x"),
            ("folder/.DS_Store", b"x"),
        ],
        compression=zipfile.ZIP_DEFLATED,
    )
    if as_body:
        headers = {"content-type": "application/zip"}
        found = client.post("/v2/jobs", content=packed, headers=headers)
    else:
        found = client.post("/v2/jobs", files={"zip": ("photos.zip", packed, "application/zip")})
    assert found.status_code == 202, found.text
    results = lines(client, found.json()["id"])
    assert sorted(one["name"] for one in results) == [name for name, _ in photos]
    assert all(one["report"] for one in results)


def test_other_formats_are_answered_as_they_were_sent(client):
    found = []
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {"WEBP": {"quality": 60}, "PNG": {}, "BMP": {}, "JPEG": {"exif": turned}}
    for kind, options in kinds.items():
        file = io.BytesIO()
        pixels = Image.effect_noise((90, 60), 80).convert("RGB")
        pixels.save(file, kind, **options)
        found.append((f"a.{kind.lower()}", file.getvalue()))
    for one in lines(client, sent(client, found)):
        expected = client.post("/v2/analyze", content=found[one["number"]][1]).json()
        assert one["report"] == expected


def test_what_cannot_be_read_costs_no_other(client, photos):
    mixed = [("../../etc/passwd", b"root:x:0:0"), photos[0], ("cut.jpg", photos[1][1][:300])]
    results = {one["number"]: one for one in lines(client, sent(client, mixed))}
    assert results[0]["name"] == "passwd"
    assert results[0]["problem"]
    assert results[0]["report"] is None
    assert results[1]["report"]
    assert results[2]["problem"]


def test_nothing_of_a_camera_is_stored(client_of, place, tmp_path):
    client = client_of(feedback=place, jobs={"patience_seconds": 600})
    exif = Image.Exif()
    exif[0x010F], exif[0xA431] = "Maker of cameras", "SERIAL-4711"
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (20, 120, 40)).save(file, "JPEG", exif=exif)
    with busy(client):
        sent(client, [("a.jpg", file.getvalue())])
        (stored,) = left(tmp_path)
        data = stored.read_bytes()
    assert b"SERIAL" not in data
    assert b"Maker" not in data


class busy:  # noqa: N801
    """A service that live requests keep busy."""

    def __init__(self, client):
        self._entered = client.app.state.service.admission.enter()

    def __enter__(self):
        self._entered.__enter__()

    def __exit__(self, *_):
        self._entered.__exit__(None, None, None)


def test_live_requests_go_first(client_of, place, photos):
    client = client_of(feedback=place, jobs={"patience_seconds": 600})
    with busy(client):
        job = sent(client, photos)
        for _ in range(5):
            assert client.post("/v2/analyze", content=photos[0][1]).status_code == 200
        status = client.get(f"/v2/jobs/{job}").json()
        assert (status["state"], status["done"]) == ("waiting", 0)
        assert lines(client, job, follow=False) == []
    assert len(lines(client, job)) == len(photos)


def test_jobs_go_on_where_live_requests_never_end(client_of, place, photos):
    client = client_of(feedback=place, jobs={"patience_seconds": 0.05})
    with busy(client):
        assert len(lines(client, sent(client, photos))) == len(photos)


def test_results_go_on_where_they_ended(client, photos):
    job = sent(client, photos)
    every = lines(client, job)
    assert lines(client, job, after=3) == every[3:]
    assert lines(client, job, after=5) == []


def test_deleted_is_all_of_a_job(client_of, place, photos, tmp_path):
    client = client_of(feedback=place, jobs={"patience_seconds": 600})
    with busy(client):
        job = sent(client, photos)
        assert len(left(tmp_path)) == len(photos)
        assert client.delete(f"/v2/jobs/{job}").status_code == 204
        assert not left(tmp_path)
    for ask in (client.get, client.delete):
        assert ask(f"/v2/jobs/{job}").status_code == 404
    assert client.get(f"/v2/jobs/{job}/results").status_code == 404


def test_jobs_expire(client_of, place, photos, tmp_path):
    client = client_of(feedback=place, jobs={"keep_hours": 0.3 / 3600, "patience_seconds": 600})
    with busy(client):
        job = sent(client, photos)
        while client.get(f"/v2/jobs/{job}").status_code == 200:
            time.sleep(0.02)
        while left(tmp_path):
            time.sleep(0.02)
    assert client.app.state.feedback.jobs.store.waiting() == 0


def test_another_replica_answers_what_one_left(client_of, place, photos):
    first = client_of(feedback=place, jobs={"lease_seconds": 0.3, "patience_seconds": 600})
    with busy(first):
        job = sent(first, photos)  # its worker has taken the first photo, and waits
        second = client_of(feedback=place, jobs={"poll_seconds": 0.05})
        assert len(lines(second, job)) == len(photos)
    assert first.get(f"/v2/jobs/{job}").json()["state"] == "done"
    assert len(lines(first, job)) == len(photos)


def test_a_replica_that_is_not_ready_answers_no_job(
    client_of, place, photos, small_bundle, strange_bundle
):
    settings = {"feedback": place, "jobs": {"poll_seconds": 0.02}}
    app = create_app(strange_bundle, ServiceSettings.model_validate(settings))
    with TestClient(app) as strange:
        while "get other answers" not in strange.get("/readyz").json()["detail"]:
            time.sleep(0.01)
        job = sent(strange, photos)
        results = lines(client_of(**settings), job)
    assert {one["bundle"] for one in results} == {small_bundle.manifest.content_sha256}


def test_a_photo_over_which_processes_end_is_given_up(client_of, place):
    with FeedbackStore(place["database"]) as opened:
        store = JobStore(opened)
        store.add("a" * 32, "", "en", [NewPhoto("a.jpg", ".jpg")], timedelta(hours=1))
        for tries in range(1, MOST_TRIES + 1):
            assert store.claim(timedelta(seconds=-1)).tries == tries
    client = client_of(feedback=place)
    (only,) = lines(client, "a" * 32)
    assert "attempts" in only["problem"]


def test_a_process_that_ends_gives_back_what_it_had_begun(small_bundle, place, photos):
    given = {"feedback": place, "jobs": {"patience_seconds": 600, "lease_seconds": 3600}}
    app = create_app(small_bundle, ServiceSettings.model_validate(given))
    with TestClient(app) as client, busy(client):
        sent(client, photos[:1])
        while not _is_claimed(client):
            time.sleep(0.01)
    with FeedbackStore(place["database"]) as opened:
        claimed = JobStore(opened).claim(timedelta(hours=1))
    assert (claimed.number, claimed.tries) == (0, 1)


def _is_claimed(client):
    with client.app.state.feedback.store.database.reading() as connection:
        return connection.execute(select(t.job_photos.c.claimed_until)).scalar() is not None


def test_two_results_of_one_photo_count_once(client_of, place, photos):
    with FeedbackStore(place["database"]) as opened:
        store = JobStore(opened)
        store.add("a" * 32, "", "en", [NewPhoto("a.jpg", ".jpg")] * 2, timedelta(hours=1))
        first = store.claim(timedelta(seconds=-1))
        again = store.claim(timedelta(hours=1))
        assert (first.number, again.number, again.tries) == (0, 0, 2)
        assert store.finish(first, "{}")
        assert not store.finish(again, "{}")
        assert store.find("a" * 32, "").done == 1
        assert store.claim(timedelta(hours=1)).number == 1
        assert store.claim(timedelta(hours=1)) is None


def test_photos_of_several_jobs_take_turns(place):
    with FeedbackStore(place["database"]) as opened:
        store = JobStore(opened)
        for job, photos in (("a" * 32, 5), ("b" * 32, 2)):
            store.add(job, "", "en", [NewPhoto("a.jpg", ".jpg")] * photos, timedelta(hours=1))
        taken = [store.claim(timedelta(hours=1)) for _ in range(7)]
    assert "".join(one.job[0] for one in taken) == "ababaaa"


def test_a_job_is_its_senders(client_of, place, photos):
    mine, other = new_key(), new_key()
    client = client_of(
        feedback=place, key_hashes=[hash_key(mine), hash_key(other)], jobs={"poll_seconds": 0.05}
    )
    job = sent(client, photos, headers={"x-api-key": mine})
    assert client.get(f"/v2/jobs/{job}", headers={"x-api-key": mine}).status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/results")):
        url = f"/v2/jobs/{job}{path}"
        assert client.request(method, url, headers={"x-api-key": other}).status_code == 404
        assert client.request(method, url).status_code == 401


def test_limits(client_of, place, photos, tmp_path):
    client = client_of(
        feedback=place,
        limits={"photo_bytes": 4000},
        jobs={"photos": 2, "total_bytes": 6000, "waiting_photos": 3, "patience_seconds": 600},
    )

    def status(**given):
        return client.post("/v2/jobs", **given).status_code

    as_zip = {"content-type": "application/zip"}
    small = [(f"{i}.jpg", photos[0][1][:700]) for i in range(3)]
    assert status(files=form(small)) == 413
    assert status(content=archive(small), headers=as_zip) == 413
    assert status(content=bytes(7000), headers=as_zip) == 413
    assert status(content=iter([bytes(1000)] * 7), headers=as_zip) == 413
    bomb = archive([("a.jpg", bytes(5000)), ("b.jpg", bytes(5000))], compression=8)
    assert len(bomb) < 1000
    assert status(content=bomb, headers=as_zip) == 413
    assert status(files={"zip": ("a.zip", bomb)}) == 413
    assert status(content=b"no archive", headers=as_zip) == 422
    assert status(content=archive([]), headers=as_zip) == 422
    assert status(content=b"x", headers={"content-type": "text/plain"}) == 415
    assert status(data={"photo": "text"}, files={"x": b""}) == 400
    assert not left(tmp_path)
    with busy(client):
        assert [status(files=form(photos[:2])) for _ in range(3)] == [202, 202, 503]


def test_too_many_at_once(client, photos):
    board = client.app.state.feedback.jobs
    with board.uploads.one(), board.uploads.one():
        found = client.post("/v2/jobs", files=form(photos))
        assert found.status_code == 503
        assert found.headers["retry-after"]
    job = sent(client, photos)
    lines(client, job)
    assert board.uploads.taken == board.streams.taken == 0


def test_a_failed_store_leaves_no_file(client, photos, tmp_path):
    desk = client.app.state.feedback
    with desk.store.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE job_photos")
    assert client.post("/v2/jobs", files=form(photos)).status_code == 503
    assert not left(tmp_path)


def test_who_leaves_while_photos_are_stored_leaves_nothing(client, photos, tmp_path):
    left_early = threading.Event()

    def coming():
        for name, data in photos:
            yield Sent(name, data)
            left_early.set()

    with pytest.raises(LeftError):
        client.app.state.feedback.jobs.make(coming(), "", "en", left_early)
    assert not left(tmp_path)
    assert client.app.state.feedback.jobs.store.waiting() == 0


def test_on_postgresql(client_of, postgresql, tmp_path, photos):
    with postgresql.server() as url:
        place = {"database": url("postgres"), "photos": str(tmp_path / "photos")}
        replicas = [
            client_of(feedback=place, workers=2, jobs={"poll_seconds": 0.02}) for _ in range(2)
        ]
        jobs = [sent(replicas[i % 2], photos * 3) for i in range(4)]
        for i, job in enumerate(jobs):
            results = lines(replicas[(i + 1) % 2], job)
            assert [one["place"] for one in results] == list(range(1, 16))
            assert sorted(one["number"] for one in results) == list(range(15))
        assert not left(tmp_path)
        for replica in replicas:
            replica.app.state.feedback.close()
