"""How files of the page and of the bundle are sent; what browsers make of them is elsewhere."""

import base64
import gzip
import json
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.page.files import PageFiles
from cannabis_ml.serving.page.packing import model_file

SCRIPT = b"console.log('page');\n" * 50


@pytest.fixture
def folder(tmp_path):
    """A built page of a few files."""
    files = {
        "page.json": b'{"version": "v1", "assets": {}}',
        "index.html": b"<!doctype html><title>page</title>",
        "sw.js": b"const bundle = self.BUNDLE;",
        "manifest.webmanifest": b"{}",
        "assets/app-01.js": SCRIPT,
        "assets/app-01.js.gz": gzip.compress(SCRIPT),
        "assets/app-01.js.br": b"as brotli",
        "assets/litert-1/runtime.wasm": b"\0asm",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def page_client(small_bundle, folder):
    app = create_app(small_bundle)
    app.state.page = PageFiles(folder)
    with TestClient(app) as client:
        yield client


def _get(client, path, coding="identity", **headers):
    return client.get(path, headers={"accept-encoding": coding, **headers})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/sw.js", "text/javascript; charset=utf-8"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/assets/app-01.js", "text/javascript; charset=utf-8"),
        ("/assets/litert-1/runtime.wasm", "application/wasm"),
    ],
)
def test_files_have_their_type_and_a_strict_policy(page_client, path, kind):
    answer = _get(page_client, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "http" not in policy


def test_the_smallest_form_that_the_client_takes_is_sent(page_client):
    def coding(accepted):
        answer = _get(page_client, "/assets/app-01.js", accepted)
        return answer.headers.get("content-encoding"), answer.headers["vary"]

    assert coding("gzip;q=0.5, identity") == ("gzip", "accept-encoding")
    assert coding("identity, br;q=0, gzip;q=0.0") == (None, "accept-encoding")
    with page_client.stream(
        "GET", "/assets/app-01.js", headers={"accept-encoding": "gzip, br"}
    ) as answer:
        assert answer.headers["content-encoding"] == "br"
        assert b"".join(answer.iter_raw()) == b"as brotli"
    assert _get(page_client, "/assets/app-01.js", "gzip").content == SCRIPT


def test_hashed_names_are_kept_for_ever_and_the_shell_is_asked_for_again(page_client):
    assert "immutable" in _get(page_client, "/assets/app-01.js").headers["cache-control"]
    shell = _get(page_client, "/")
    assert shell.headers["cache-control"] == "no-cache"
    again = _get(page_client, "/", **{"if-none-match": shell.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_service_worker_changes_with_the_bundle(page_client, small_bundle):
    script = _get(page_client, "/sw.js").text
    assert script.startswith(f'self.BUNDLE="{small_bundle.manifest.content_sha256}";')


@pytest.mark.parametrize(
    "path",
    ["/assets/none.js", "/assets/%2e%2e/%2e%2e/other.json", "/assets/%00", "/assets/litert-1"],
)
def test_what_was_not_built_is_not_found(page_client, folder, path):
    (folder.parent / "other.json").write_text("{}")
    assert _get(page_client, path).status_code == 404


def test_a_page_that_is_not_built_says_how_to_build_it(small_bundle, tmp_path):
    app = create_app(small_bundle)
    app.state.page = PageFiles(tmp_path)
    with TestClient(app) as client:
        answer = client.get("/")
        assert answer.status_code == 404
        assert "make page" in answer.text
        assert client.get("/sw.js").status_code == 404
        assert client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_packed_bundles_hold_what_a_page_reads(bundle_of):
    bundle = bundle_of(tier2="page")
    with TestClient(create_app(bundle)) as client:
        own = f"/v2/bundles/{bundle.manifest.content_sha256}"
        found = client.get(f"{own}/page")
        larger = client.get(f"{own}/tiers/tier2/page").json()
        model = client.get(f"{own}/tiers/tier2")
    assert model.content == bundle.read(bundle.manifest.tiers["tier2"].page.file)
    assert "immutable" in found.headers["cache-control"]
    packed = found.json()
    assert packed["tiers"] == larger["tiers"] == ["tier1", "tier2"]
    manifest = json.loads(packed["texts"]["bundle.json"])
    assert manifest["content_sha256"] == packed["id"] == bundle.manifest.content_sha256
    routing = json.loads(packed["texts"]["routing.json"])
    assert routing["tiers"][0]["accept_from"] == bundle.routing.tiers[0].accept_from
    score = UnknownScore.from_bytes(base64.b64decode(packed["files"]["unknown/tier1.npz"]))
    assert np.isfinite(score.threshold)
    golden = json.loads(packed["texts"]["golden/answers.json"])
    assert {tier: list(kinds) for tier, kinds in golden["tiers"].items()} == {
        "tier1": ["float"],
        "tier2": ["page"],
    }
    assert set(golden["photos"]) <= set(packed["files"])
    # What larger tiers need comes later.
    assert "unknown/tier2.npz" not in packed["files"]
    assert "unknown/tier2.npz" in larger["files"]


@pytest.mark.slow
def test_files_that_no_browser_runs_are_left_out(bundle_of):
    bundle = bundle_of()
    with TestClient(create_app(bundle)) as client:
        own = f"/v2/bundles/{bundle.manifest.content_sha256}"
        packed = client.get(f"{own}/page").json()
        assert client.get(f"{own}/tiers/tier2/page").status_code == 404
        assert client.get(f"{own}/tiers/tier2").status_code == 404
    assert packed["tiers"] == ["tier1"]
    assert list(json.loads(packed["texts"]["golden/answers.json"])["tiers"]) == ["tier1"]


def test_other_bundles_and_tiers_that_no_browser_runs_are_not_found(page_client, small_bundle):
    own = small_bundle.manifest.content_sha256
    assert page_client.get(f"/v2/bundles/{'0' * 64}/page").status_code == 404
    assert page_client.get(f"/v2/bundles/{own}/tiers/tier1").status_code == 404


def test_files_of_the_bundle_are_for_those_with_a_key(small_bundle, client_of):
    client = client_of(key_hashes=["0" * 64])
    assert client.get(f"/v2/bundles/{small_bundle.manifest.content_sha256}/page").status_code == 401


def test_large_files_are_read_and_unpacked_beside_the_event_loop(page_client, folder):
    """Some are of ten megabytes, and whoever takes no compressed form has them unpacked."""
    threads = {}

    class Watched(PageFiles):
        def get(self, path, accepted=""):
            threads["file"] = threading.get_ident()
            return super().get(path, accepted)

    @page_client.app.get("/loop")
    async def loop():
        threads["loop"] = threading.get_ident()

    page_client.app.state.page = Watched(folder)
    assert page_client.get("/loop").status_code == 200
    assert _get(page_client, "/assets/app-01.js").content == SCRIPT
    assert threads["file"] != threads["loop"]


def test_a_model_file_is_in_memory_once_however_many_fetch_it(small_bundle):
    name = small_bundle.manifest.tiers["tier1"].all["float"].file
    first = model_file(small_bundle, name)
    assert first.data == small_bundle.read(name)
    assert model_file(small_bundle, name) is first
