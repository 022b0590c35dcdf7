"""What is refused, with which status, and what it leaves behind."""

import threading
import time
from dataclasses import replace

import pytest

from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.problems import MEDIA_TYPE, ServiceError
from cannabis_ml.serving.settings import hash_key, new_key


def refused(response, status):
    """The detail of a problem with that status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    found = response.json()
    assert found["status"] == status
    assert found["request_id"] == response.headers["x-request-id"]
    return found["detail"]


def test_photo_that_cannot_be_read(client, jpeg):
    assert "empty" in refused(client.post("/v2/analyze", content=b""), 422)
    assert refused(client.post("/v2/analyze", content=b"\xff\xd8\xff\xe0 no photo"), 422)
    assert refused(client.post("/v2/analyze", content=jpeg()[:300]), 422)
    assert client.post("/v2/analyze", content=jpeg()).status_code == 200


def test_bytes_are_limited_by_header_and_as_they_come(client_of, jpeg):
    client = client_of(limits={"photo_bytes": 1024})
    photo = jpeg(side=128)
    assert len(photo) > 1024
    assert "1,024 bytes" in refused(client.post("/v2/analyze", content=photo), 413)
    pieces = (photo[i : i + 100] for i in range(0, len(photo), 100))
    assert "1,024 bytes" in refused(client.post("/v2/analyze", content=pieces), 413)
    form = {"photo": ("a.jpg", photo, "image/jpeg")}
    assert "1,024 bytes" in refused(client.post("/v2/analyze", files=form), 413)


def test_pixels_are_limited(client_of, jpeg):
    client = client_of(limits={"photo_pixels": 1024})
    assert refused(client.post("/v2/analyze", content=jpeg(side=33)), 422)
    assert client.post("/v2/analyze", content=jpeg(side=32)).status_code == 200


def test_other_types_and_broken_forms(client, jpeg):
    as_text = {"content-type": "text/plain"}
    assert "'photo'" in refused(client.post("/v2/analyze", content=b"x", headers=as_text), 415)
    form = {"content-type": "multipart/form-data"}
    assert refused(client.post("/v2/analyze", content=b"x", headers=form), 400)
    assert "no file" in refused(client.post("/v2/analyze", files={"picture": jpeg()}), 400)
    assert "no file" in refused(client.post("/v2/analyze", files={"photo": (None, "text")}), 400)
    assert refused(client.post("/v2/analyze", files={"photo": jpeg(), "other": jpeg()}), 400)


def test_languages_that_there_are_no_texts_in(client, jpeg):
    assert "'xx'" in refused(client.post("/v2/analyze?language=xx", content=jpeg()), 422)


def test_unknown_paths_and_methods(client):
    assert refused(client.get("/v2/nothing"), 404)
    assert refused(client.get("/v2/analyze"), 405)


def test_keys(client_of, jpeg):
    key = new_key()
    client = client_of(key_hashes=[hash_key("another"), hash_key(key)])
    assert "x-api-key" in refused(client.post("/v2/analyze", content=jpeg()), 401)
    wrong = {"x-api-key": key[:-1]}
    assert refused(client.post("/v2/analyze", content=jpeg(), headers=wrong), 401)
    right = {"x-api-key": key}
    assert client.post("/v2/analyze", content=jpeg(), headers=right).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_requests_per_minute(client_of):
    client = client_of(limits={"requests_per_minute": 2})
    assert [client.get("/v2/bundle").status_code for _ in range(2)] == [200, 200]
    third = client.get("/v2/bundle")
    assert "2 requests a minute" in refused(third, 429)
    assert 1 <= int(third.headers["retry-after"]) <= 60


def test_who_is_behind_a_trusted_proxy_counts_alone(client_of):
    client = client_of(limits={"requests_per_minute": 1}, trusted_proxies=["testclient"])
    for address in ("192.0.2.1", "192.0.2.2"):
        by = {"x-forwarded-for": f"198.51.100.9, {address}"}
        assert client.get("/v2/bundle", headers=by).status_code == 200
        assert client.get("/v2/bundle", headers=by).status_code == 429


def test_headers_for_browsers(client):
    found = client.get("/healthz").headers
    assert found["content-security-policy"].startswith("default-src 'none'")
    assert found["x-content-type-options"] == "nosniff"
    given = client.get("/healthz", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    strange = client.get("/healthz", headers={"x-request-id": "a b<script>"})
    assert strange.headers["x-request-id"] != "a b<script>"


def test_pages_from_elsewhere(client_of):
    client = client_of(cors_origins=["https://page.example"])
    for origin, expected in [("https://page.example",) * 2, ("https://other.example", None)]:
        found = client.get("/healthz", headers={"origin": origin})
        assert found.headers.get("access-control-allow-origin") == expected


def test_more_than_there_is_room_for_are_turned_away():
    pool = WorkerPool(1)
    admission = Admission(pool, waiting=1)
    with admission.enter(), admission.enter():
        with pytest.raises(ServiceError) as found, admission.enter():
            pass
        assert found.value.status == 503
        assert int(found.value.headers["retry-after"]) >= 1
    with admission.enter():
        assert admission.inside == 1
    assert (admission.inside, admission.turned_away) == (0, 1)
    pool.close()


def test_overload_is_answered_before_the_photo_is_read(client_of, jpeg):
    client = client_of(limits={"waiting": 0})
    service = client.app.state.service
    with service.admission.enter():
        found = client.post("/v2/analyze", content=jpeg())
        assert "try again" in refused(found, 503)
    assert client.post("/v2/analyze", content=jpeg()).status_code == 200


def test_deadline(client_of, jpeg):
    client = client_of(limits={"deadline_seconds": 0.1})
    service, go = client.app.state.service, threading.Event()
    service.pool.submit(go.wait)
    try:
        assert "0.1 s" in refused(client.post("/v2/analyze", content=jpeg()), 504)
    finally:
        go.set()
    assert service.admission.inside == 0


def test_work_that_nobody_waits_for_is_never_begun():
    pool, go, begun = WorkerPool(1), threading.Event(), []
    pool.submit(go.wait)
    future = pool.submit(lambda: begun.append(1))
    assert future.cancel()
    go.set()
    pool.submit(lambda: None).result()
    pool.close()
    assert begun == []


def test_ready_once_the_golden_photos_agree(client):
    while client.app.state.service.bundles.served.golden is None:
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 200


def test_not_ready_where_they_do_not(client):
    service = client.app.state.service
    while service.bundles.served.golden is None:
        time.sleep(0.01)
    served = service.bundles.served
    other = served.golden.model_copy(update={"passed": False})
    service.bundles.switch(replace(served, golden=other))
    assert "other answers" in refused(client.get("/readyz"), 503)
    assert client.get("/healthz").status_code == 200


def test_a_fault_of_the_service_is_a_problem_and_counts_as_one(client):
    @client.app.get("/fails")
    def fails():
        raise RuntimeError("secret")

    found = client.get("/fails")
    refused(found, 500)
    assert "secret" not in found.text
    counts = client.get("/metrics").text
    assert 'cannabis_ml_requests_total{route="/fails",status="500"} 1.0' in counts


def test_counts(client, small_bundle, jpeg):
    client.post("/v2/analyze", content=jpeg())
    client.post("/v2/analyze", content=b"")
    client.get("/no/such/path")
    text, by = client.get("/metrics").text, f'bundle="{small_bundle.manifest.content_sha256[:12]}"'
    assert 'cannabis_ml_requests_total{route="/v2/analyze",status="200"} 1.0' in text
    assert 'cannabis_ml_requests_total{route="/v2/analyze",status="422"} 1.0' in text
    assert 'cannabis_ml_requests_total{route="other",status="404"} 1.0' in text
    assert f'cannabis_ml_confidence_count{{{by},head="kind.of thing",tier="tier2"}} 1.0' in text
    assert f'cannabis_ml_reports_total{{{by},tier="tier2",unknown="no"}} 1.0' in text
    assert "cannabis_ml_requests_inside 0.0" in text
