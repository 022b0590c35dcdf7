"""The OpenAPI document, and a service that keeps to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cannabis_ml.feedback.review_queue import QueueList
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.settings import ServiceSettings, hash_key

sys.path.append(str(Path(__file__).parents[1] / "assistant"))
from anthropic_server import AnthropicServer

HEAD = "kind.of thing"
ADMIN = "key-of-an-admin"

TFLITE_FILES = "/tiers/"
"""In paths of what the bundle here has none of."""

EXAMPLES = 15
"""Of each operation."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def language_model():
    """One that explains everything alike."""
    text = "It is a red thing. The model looked at the middle."
    opened = AnthropicServer(lambda asked: {"text": text})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def app(small_bundle, language_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    explains = {
        "folder": str(folder / "answers"),
        "model": {"name": "m", "base_url": language_model.url, "key": "MODEL_KEY"},
        "pace": {"per_minute": 1e9},
        "prices": {"date": "2026-11-25", "models": {}},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_KEY", language_model.key)
        return _app(small_bundle, folder, explains)


def _app(small_bundle, folder, explains):
    given = {
        "assistant": {"params": explains},
        "feedback": {"database": f"sqlite:///{folder / 'feedback.db'}"},
        "admin_key_hashes": [hash_key(ADMIN)],
        "jobs": {"follow_seconds": 2},
    }
    return create_app(small_bundle, ServiceSettings.model_validate(given))


@pytest.fixture(scope="module")
def there(address, app, jpeg):
    """What parameters of paths may name."""
    label = app.state.service.loaded.bundle.taxonomy[HEAD].class_names[0]
    told = {
        "key": "key-1",
        "person": "p-1",
        "at": "2026-05-01T12:00:00Z",
        "photo_id": "ab" * 32,
        "opinions": [{"head": HEAD, "verdict": "corrected", "label": label}],
    }
    httpx.post(f"{address}/v2/feedback", json=told).raise_for_status()
    waiting = told | {"key": "key-2", "person": "p-2", "consent": True}
    form = {"feedback": json.dumps({k: v for k, v in waiting.items() if k != "photo_id"})}
    photo = {"photo": ("a.jpg", jpeg(), "image/jpeg")}
    sent = httpx.post(f"{address}/v2/feedback", data=form, files=photo).raise_for_status().json()
    entry = {"photo_id": sent["photo_id"], "source": "label_next", "rank": 1}
    entry |= {"kind": "margin", "reason": "because"}
    queue = {"sources": ("label_next",), "entries": (entry,)}
    app.state.feedback.store.fill_queue(QueueList.model_validate(queue))
    photos = [("photo", ("a.jpg", jpeg(), "image/jpeg"))]
    job = httpx.post(f"{address}/v2/jobs", files=photos).raise_for_status().json()["id"]
    loaded = app.state.service.loaded
    there = {"job": job, "pseudonym": "p-1", "bundle": loaded.id, "tier": loaded.tiers[0]}
    return there | {"photo_id": sent["photo_id"], "key": "key-2"}


def test_nothing_is_answered_that_is_not_declared(app, address, there):
    seen = set()
    every = schemathesis.openapi.from_dict(app.openapi()).get_all_operations()
    for operation in sorted((one.ok() for one in every), key=lambda one: one.method == "delete"):
        for status in hold_to_its_declaration(operation, address, there):
            seen.add((operation.method, operation.path, status))
    # What is declared was seen too, not refusals alone.
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items() if TFLITE_FILES not in path else ():
            good = {int(status) for status in operation["responses"] if status < "300"}
            assert any((method, path, status) in seen for status in good), (method, path)


def hold_to_its_declaration(operation, address, there):
    """The statuses that were seen."""
    seen = set()

    @given(case=operation.as_strategy(), is_there=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case, is_there):
        if is_there and operation.method != "delete":
            case.path_parameters = {name: there[name] for name in case.path_parameters or {}}
        found = case.call(base_url=address, headers={"x-api-key": ADMIN})
        seen.add(found.status_code)
        case.validate_response(found, checks=CHECKS)

    hold()
    if operation.method == "delete":
        path = operation.path.format(**there)
        whose = {"person": "p-2"} if "{key}" in operation.path else {}
        found = httpx.delete(address + path, params=whose, headers={"x-api-key": ADMIN})
        seen.add(found.status_code)
    return seen


def test_document_is_one(app):
    validate(app.openapi())


def test_operations_have_names_of_their_own(app):
    paths = app.openapi()["paths"]
    operations = [one for path in paths.values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert {"analyze", "feedback", "learning_status", "create_job", "erase_person"} <= set(names)
    assert all(one["summary"] and one["description"] for one in operations)


def test_a_key_is_declared_where_it_is_asked_for(app):
    document = app.openapi()
    assert document["components"]["securitySchemes"]["apiKey"]["name"] == "x-api-key"
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert {"apiKey": []} in document["paths"]["/v2/analyze"]["post"]["security"]
