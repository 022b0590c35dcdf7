"""A router over the tiers of a bundle, one of them on another machine."""

import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.errors import BundleError, ConfigError, PhotoError
from cannabis_ml.inference import BlockingRouter, Bundle
from cannabis_ml.inference.bundle_router import (
    answer_from_json,
    as_file,
    rule_of,
    tier_answerer,
)
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.routing import RoutingRule, TierCost, TierThresholds
from cannabis_ml.photos.decode import decode


@pytest.fixture(scope="module")
def opened(written):
    return Bundle.open(written)


@pytest.fixture
def serving(opened):
    """The second tier over HTTP: its URL, and statuses that it gives before it answers."""
    answer = tier_answerer(opened, "tier2", opened.routing)
    statuses, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                status = statuses.pop() if statuses else 200
                told = json.dumps(answer(body).as_json()).encode() if status == 200 else b""
            self.send_response(status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", statuses
    server.shutdown()
    thread.join()
    server.server_close()


def answered(router, given):
    async def run():
        found = await asyncio.gather(*(router.answer(photo) for photo in given))
        await router.aclose()
        return found

    return asyncio.run(run())


def test_photos_that_the_first_tier_is_unsure_of_go_on(opened, photos):
    given = photos(12)
    found = answered(opened.router([0.6]), given)
    first = [opened.predict(photo, "tier1") for photo in given]
    head = opened.routing.head
    strange = [
        opened.unknown("tier1").is_unknown({"embedding": a.embedding[None]})[0] for a in first
    ]
    stays = [a[head].probs.max() >= 0.6 and not odd for a, odd in zip(first, strange, strict=True)]
    assert [one.tier for one in found] == ["tier1" if stay else "tier2" for stay in stays]
    assert any(strange)
    assert 0 < sum(stays) < 12
    for one, photo in zip(found, given, strict=True):
        assert one.answer.as_json() == opened.predict(photo, one.tier).as_json()


def test_the_bundles_own_rule_is_the_default(opened, photos):
    with BlockingRouter(opened.router) as router:
        assert router.router.rule == opened.routing
        [*routed] = router.stream(photos(1)[0])
    assert routed[-1].final
    assert routed[-1].why


def test_fixed_thresholds_keep_the_unknown_score_and_costs(opened):
    rule = rule_of(opened, [0.7])
    threshold = opened.unknown("tier1").threshold
    assert rule.tiers[0] == TierThresholds(tier="tier1", accept_from=0.7, unknown_above=threshold)
    assert rule.tiers[1].accept_all
    with pytest.raises(ConfigError, match=r"2 thresholds were given; 1 are needed"):
        rule_of(opened, [0.7, 0.8])


def test_costs_come_from_the_bundles_rule(contents, tmp_path):
    own = RoutingRule.fixed("grade", ["tier1", "tier2"], [0.5])
    costs = [TierCost(3), TierCost(40, 0.1)]
    tiers = [t.model_copy(update={"cost": c}) for t, c in zip(own.tiers, costs, strict=True)]
    routing = own.model_copy(update={"tiers": tiers})
    bundle = write_bundle(tmp_path / "b", contents(routing=routing))
    rule = rule_of(bundle, [0.9])
    assert rule.head == "grade"
    assert [tier.cost for tier in rule.tiers] == costs


def test_without_routing_thresholds_are_asked_for(contents, tmp_path):
    bundle = write_bundle(tmp_path / "b", contents(routing=None))
    with pytest.raises(BundleError, match="has no routing"):
        bundle.router()
    assert rule_of(bundle, [0.7]).head == bundle.taxonomy.heads[0].name


def test_a_remote_tier_answers_as_a_local_one(opened, photos, serving):
    pytest.importorskip("httpx", reason="needs pip install cannabis_ml[remote]")
    given = photos(4)
    local = answered(opened.router([1.0]), given)
    remote = answered(opened.router([1.0], remote={"tier2": serving[0]}), given)
    for ours, theirs in zip(local, remote, strict=True):
        assert (theirs.tier, theirs.missing) == ("tier2", {})
        assert (theirs.score, theirs.unknown) == (ours.score, ours.unknown)
        assert theirs.answer.as_json() == ours.answer.as_json()


def test_a_remote_tier_that_is_away_leaves_the_best_answer_so_far(opened, photos, serving):
    pytest.importorskip("httpx", reason="needs pip install cannabis_ml[remote]")
    url, statuses = serving
    statuses += [500] * 3
    photo = photos(1)[0]
    [routed] = answered(opened.router([1.0], remote={"tier2": url}), [photo])
    assert routed.degraded
    assert routed.tier == "tier1"
    assert "status 500, after 3 tries" in routed.missing["tier2"]
    assert routed.answer.as_json() == opened.predict(photo, "tier1").as_json()


def test_a_tier_that_is_not_there_cannot_be_remote(opened):
    with pytest.raises(ConfigError, match="'tier3' cannot be asked elsewhere"):
        opened.router(remote={"tier3": "http://localhost"})


def test_a_file_that_is_not_there_is_the_callers_error(opened, tmp_path):
    with BlockingRouter(opened.router) as router:
        with pytest.raises(PhotoError, match="cannot be read: No such file"):
            router.answer(tmp_path / "none.jpg")
        assert router.router.metrics.snapshot()["refused"] == 1


def test_several_threads_answer_at_once_and_alike(opened, photos):
    given = photos(6) * 4
    found = answered(opened.router([0.6], workers=3), given)
    alone = answered(opened.router([0.6]), given)
    assert [a.answer.as_json() for a in found] == [b.answer.as_json() for b in alone]


def test_every_kind_of_photo_travels_as_a_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for photo in (pixels, Image.fromarray(pixels), path, str(path), path.read_bytes()):
        assert (decode(as_file(photo)) == pixels).all()
    with pytest.raises(PhotoError, match="not of type int"):
        as_file(7)


def test_answers_that_do_not_fit_the_taxonomy_are_refused(opened, photos):
    written = opened.predict(photos(1)[0], "tier2").as_json()

    def with_head(name, **other):
        heads = {**written["heads"], name: {**written["heads"][name], **other}}
        return answer_from_json({**written, "heads": heads}, "tier2", opened.taxonomy)

    assert with_head("grade").as_json() == written
    with pytest.raises(ValueError, match="classes of 'grade'"):
        with_head("grade", answer="Z")
    with pytest.raises(ValueError, match="classes of 'grade'"):
        with_head("grade", probs={"A": 1.0})
    with pytest.raises(ValueError, match="classes of 'marks'"):
        with_head("marks", answer="line")
    with pytest.raises(ValueError, match="not finite"):
        with_head("grade", probs=dict.fromkeys("ABCD", float("nan")))
    with pytest.raises(ValueError, match="'grade' are not the taxonomy's"):
        answer_from_json({"heads": {"grade": {}}}, "tier2", opened.taxonomy)


def test_the_server_of_the_how_to_answers(opened, photos):
    pytest.importorskip("httpx", reason="needs pip install cannabis_ml[remote]")
    page = (Path(__file__).parents[2] / "docs/how-to/route.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(next(block for block in blocks if "handler_for" in block), names)
    handler = names["handler_for"](opened, "tier2")
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        [routed] = answered(opened.router([1.0], remote={"tier2": url}), photos(1))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (routed.tier, routed.missing) == ("tier2", {})
    assert routed.answer.as_json() == opened.predict(photos(1)[0], "tier2").as_json()
