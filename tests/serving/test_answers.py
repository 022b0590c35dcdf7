"""What the service answers for photos."""

import json

import pytest

from cannabis_ml.serving.schemas import Classification


def test_report_is_that_of_the_largest_tier(client, small_bundle, jpeg):
    found = client.post("/v2/analyze", content=jpeg(), headers={"content-type": "image/jpeg"})
    assert found.status_code == 200
    assert found.json() == json.loads(
        json.dumps(small_bundle.report(jpeg(), tier="tier2").as_json())
    )


def test_report_in_another_language(client, small_bundle, jpeg):
    found = client.post("/v2/analyze?language=es", content=jpeg())
    expected = small_bundle.report(jpeg(), tier="tier2", language="es").as_json()
    assert found.json()["heads"] == json.loads(json.dumps(expected))["heads"]


def test_a_form_is_answered_as_the_body_itself(client, jpeg):
    raw = client.post("/v2/analyze", content=jpeg(), headers={"content-type": "image/jpeg"})
    form = client.post("/v2/analyze", files={"photo": ("a.jpg", jpeg(), "image/jpeg")})
    assert form.json() == raw.json()


def test_classes_and_probabilities_alone(client, small_bundle, jpeg):
    found = client.post("/api/v1/classify", content=jpeg()).json()
    answer = small_bundle.predict(jpeg(), "tier2")
    assert found["tier"] == "tier2"
    for name, head in answer.items():
        assert [(one["name"], one["probability"]) for one in found["heads"][name]] == head.top(99)


def test_a_model_input_made_by_the_page_is_taken_as_it_is(client, small_bundle, jpeg):
    size = small_bundle.predictor("tier2").image_size
    pixels = jpeg(side=size, kind="PNG")
    found = client.post("/api/v1/classify", content=pixels, headers={"content-type": "image/png"})
    assert found.json()["heads"]["kind.of thing"][0]["probability"] == pytest.approx(
        small_bundle.predict(pixels, "tier2")["kind.of thing"].top(1)[0][1]
    )


@pytest.mark.parametrize("color", [(200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 120, 120)])
def test_mobile_answer_is_the_routers(client, small_bundle, jpeg, color):
    import asyncio

    async def routed():
        router = small_bundle.router()
        found = await router.answer(jpeg(color))
        await router.aclose()
        return found

    expected = asyncio.run(routed())
    found = client.post("/v2/analyze-mobile", content=jpeg(color)).json()
    assert (found["tier"], found["accepted"]) == (expected.tier, expected.accepted)
    assert found["score"] == pytest.approx(expected.score)
    assert found["final"]
    assert found["report"]["tier"] == expected.tier


def test_events_bring_the_fast_answer_first(client_of, jpeg):
    client = client_of()
    headers = {"accept": "text/event-stream", "content-type": "image/jpeg"}
    steps = {}
    for color in [(200, 30, 30), (30, 200, 30), (120, 120, 120), (90, 90, 140)]:
        found = client.post("/v2/analyze-mobile", content=jpeg(color), headers=headers)
        assert found.headers["content-type"].startswith("text/event-stream")
        events = [event.split("\n") for event in found.text.strip().split("\n\n")]
        assert all(name == "event: report" for name, _ in events)
        reports = [json.loads(data.removeprefix("data: ")) for _, data in events]
        assert [report["final"] for report in reports] == [False] * (len(reports) - 1) + [True]
        steps[color] = [report["tier"] for report in reports]
    assert ["tier1", "tier2"] in steps.values()
    assert client.app.state.service.admission.inside == 0


def test_what_is_served(client, small_bundle):
    found = client.get("/v2/bundle").json()
    assert found["id"] == small_bundle.manifest.content_sha256
    assert [tier["name"] for tier in found["tiers"]] == ["tier1", "tier2"]
    assert found["model_card"] == small_bundle.model_card
    assert found["heads"]["grade"] == ["A", "B", "C", "D"]


def test_classes_are_written_as_the_schema_tells(client, jpeg):
    found = client.post("/api/v1/classify", content=jpeg())
    assert found.headers["content-type"] == "application/json"
    assert Classification.model_validate_json(found.text).model_dump() == found.json()
    document = client.get("/openapi.json").json()
    described = document["paths"]["/api/v1/classify"]["post"]["responses"]["200"]
    schema = described["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Classification"}
