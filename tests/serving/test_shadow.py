"""The challenger in the shadow: only counts come of it, and nobody waits for it."""

from __future__ import annotations

import re
import threading

import pytest


def counts(client, name):
    """The samples of a metric by their labels."""
    text = client.get("/metrics").text
    found = re.findall(rf"^cannabis_ml_{name}\{{(.*?)\}} ([0-9.]+)$", text, re.M)
    return {labels: float(value) for labels, value in found}


def ended(client, photos):
    """Wait until so many photos came to an end in the shadow."""

    def so_many():
        return sum(counts(client, "shadow_seconds_count").values()) + sum(
            counts(client, "shadow_dropped_total").values()
        )

    while so_many() < photos:
        pass


def test_agreement_is_counted_by_head_and_bundle(client_of, small_bundle, other_bundle, jpeg):
    client = client_of(challenger=other_bundle, shadow_share=1.0)
    colors = [(200, 30, 30), (30, 200, 30), (120, 120, 120), (90, 90, 140), (240, 240, 10)]
    same = {}
    for i, color in enumerate(colors):
        told = client.post("/v2/analyze", content=jpeg(color))
        assert told.headers["x-bundle"] == small_bundle.manifest.content_sha256
        one, other = (b.report(jpeg(color), tier="tier2") for b in (small_bundle, other_bundle))
        for name, head in one.heads.items():
            agree = "yes" if head.decided == other.heads[name].decided else "no"
            same[name, agree] = same.get((name, agree), 0) + 1
        ended(client, i + 1)
    short = other_bundle.manifest.content_sha256[:12]
    assert counts(client, "shadow_answers_total") == {
        f'bundle="{short}",head="{name}",same="{agree}"': count
        for (name, agree), count in same.items()
    }
    # What people were told is counted alone.
    assert f'bundle="{short}"' not in str(counts(client, "reports_total"))


def test_the_share_is_met_exactly(client_of, other_bundle, jpeg):
    client = client_of(challenger=other_bundle, shadow_share=0.25)
    for i in range(12):
        client.post("/v2/analyze-mobile", content=jpeg())
        ended(client, (i + 1) // 4)
    assert sum(counts(client, "shadow_seconds_count").values()) == 3


@pytest.mark.parametrize("settings", [{"shadow_share": 0.0}, {"challenger_share": 1.0}])
def test_nothing_is_asked_that_was_not_drawn(client_of, other_bundle, jpeg, settings):
    client = client_of(challenger=other_bundle, **{"shadow_share": 1.0, **settings})
    client.post("/v2/analyze", content=jpeg(), headers={"x-person": "somebody"})
    assert counts(client, "shadow_seconds_count") == counts(client, "shadow_dropped_total") == {}


def test_photos_are_dropped_while_requests_are_inside(client_of, other_bundle, jpeg, monkeypatch):
    monkeypatch.setattr("cannabis_ml.serving.shadow.IDLE_SECONDS", 0.0)
    client = client_of(challenger=other_bundle, shadow_share=1.0, limits={"waiting": 4})
    service = client.app.state.service
    with service.admission.enter():
        for i in range(4):
            assert client.post("/v2/analyze", content=jpeg()).status_code == 200
            ended(client, i + 1)
    assert counts(client, "shadow_dropped_total") == {'reason="busy"': 4.0}
    monkeypatch.undo()  # its own request is still inside when a photo is offered
    client.post("/v2/analyze", content=jpeg())
    ended(client, 5)
    assert sum(counts(client, "shadow_seconds_count").values()) == 1


def test_nobody_waits_for_a_challenger_that_hangs(client_of, other_bundle, jpeg):
    client = client_of(challenger=other_bundle, shadow_share=1.0)
    service, begun, go = client.app.state.service, threading.Event(), threading.Event()
    challenger = service.bundles.served.challenger
    answer = challenger.answer

    def hanging(*given):
        begun.set()
        go.wait()
        return answer(*given)

    challenger.answer = hanging
    try:
        for _ in range(4):
            assert client.post("/v2/analyze", content=jpeg()).status_code == 200
            begun.wait()
        # One is being answered, one waits, and two were dropped.
        assert counts(client, "shadow_dropped_total") == {'reason="busy"': 2.0}
    finally:
        go.set()
    ended(client, 4)


def test_a_challenger_that_fails_is_counted(client_of, other_bundle, jpeg):
    client = client_of(challenger=other_bundle, shadow_share=1.0)
    client.app.state.service.bundles.served.challenger.answer = None
    assert client.post("/v2/analyze", content=jpeg()).status_code == 200
    ended(client, 1)
    assert counts(client, "shadow_dropped_total") == {'reason="failed"': 1.0}
