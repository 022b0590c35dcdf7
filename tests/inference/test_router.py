"""The router: whose answer is taken, what happens when tiers fail, what is counted."""

import asyncio
import contextlib
import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.errors import ConfigError, PhotoError, RoutingError, TierUnavailableError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.local_tier import LocalTier, tier_answer
from cannabis_ml.inference.router import BlockingRouter, Router, TierAnswer
from cannabis_ml.inference.router_metrics import RouterMetrics, percentages
from cannabis_ml.inference.routing import RoutingRule, TierCost, TierThresholds
from cannabis_ml.inference.unknown import UnknownScore

RULE = RoutingRule(
    head="colour",
    tiers=[
        TierThresholds(tier="tier1", accept_from=0.8, unknown_above=5.0, cost=TierCost(2, 0, 0.5)),
        TierThresholds(tier="tier2", accept_from=0.8, by_class={"red": 0.95}, cost=TierCost(10)),
        TierThresholds(tier="tier3", accept_from=0.5, cost=TierCost(300, 0.01)),
    ],
)


class Fake:
    """Answers with a score, or raises."""

    def __init__(self, name, found):
        self.name, self.found, self.asked = name, found, 0

    async def ask(self, photo):
        self.asked += 1
        if isinstance(self.found, BaseException):
            raise self.found
        if isinstance(self.found, asyncio.Event):
            await self.found.wait()
        found = self.found if isinstance(self.found, TierAnswer) else TierAnswer(None, self.found)
        return TierAnswer(f"{self.name} of {photo}", found.score, found.unknown, found.decided)


def router(*found):
    return Router([Fake(f"tier{i + 1}", one) for i, one in enumerate(found)], RULE)


def streamed(router, photo="p"):
    async def run():
        return [routed async for routed in router.stream(photo)]

    return asyncio.run(run())


def told(routed):
    return [(r.tier, r.accepted, r.final) for r in routed]


DOWN = TierUnavailableError("no route")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.9, 0, 0), [("tier1", True, True)]),
        ((0.5, 0.85, 0), [("tier1", False, False), ("tier2", True, True)]),
        (
            (0.5, 0.7, 0.6),
            [("tier1", False, False), ("tier2", False, False), ("tier3", True, True)],
        ),
        (
            (0.5, 0.7, 0.1),
            [("tier1", False, False), ("tier2", False, False), ("tier3", False, True)],
        ),
        ((TierAnswer(None, 0.99, 7.0), 0.9, 0), [("tier1", False, False), ("tier2", True, True)]),
        (
            (0.5, TierAnswer(None, 0.9, None, "red"), 0.6),
            [("tier1", False, False), ("tier2", False, False), ("tier3", True, True)],
        ),
    ],
)
def test_tiers_are_asked_until_one_is_sure(scores, expected):
    routed = streamed(router(*scores))
    assert told(routed) == expected
    assert routed[-1].answer == f"{routed[-1].tier} of p"
    assert not routed[-1].degraded


def test_larger_tiers_are_not_asked_in_vain():
    made = router(0.9, 0.9, 0.9)
    asyncio.run(made.answer("p"))
    assert [tier.asked for tier in made.tiers] == [1, 0, 0]


def test_the_best_answer_so_far_is_marked_where_the_last_tier_is_away():
    routed = streamed(router(0.5, 0.7, DOWN))
    assert told(routed) == [
        ("tier1", False, False),
        ("tier2", False, False),
        ("tier2", False, True),
    ]
    assert routed[-1].missing == {"tier3": "no route"}
    assert routed[-1].degraded


def test_a_tier_in_the_middle_may_be_away():
    routed = streamed(router(0.5, ValueError("broken"), 0.9))
    assert told(routed) == [("tier1", False, False), ("tier3", True, True)]
    assert routed[-1].missing == {"tier2": "broken"}
    assert not routed[-1].degraded


def test_where_no_tier_answers_the_error_names_all():
    made = router(DOWN, ValueError("broken"), DOWN)
    with pytest.raises(RoutingError, match="tier1: no route; tier2: broken; tier3: no route"):
        streamed(made)
    assert made.metrics.snapshot()["percent"]["none"] == 100


def test_what_is_not_a_photo_is_the_callers_error():
    made = router(PhotoError("not a photo"), 0.9, 0.9)
    with pytest.raises(PhotoError):
        streamed(made)
    assert made.tiers[1].asked == 0
    assert made.metrics.snapshot()["refused"] == 1


def test_a_fast_answer_comes_before_the_slow_tier_is_done():
    async def run():
        gate = asyncio.Event()
        made = router(0.5, 0.6, 0.9)
        made.tiers[2].found = gate
        stream = made.stream("p")
        first = await anext(stream)
        second = await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not waiting.done()
        made.tiers[2].found = 0.9
        gate.set()
        return [first, second, await waiting]

    assert [routed.tier for routed in asyncio.run(run())] == ["tier1", "tier2", "tier3"]


def test_a_caller_who_leaves_is_counted():
    async def run():
        made = router(0.5, 0.6, 0.9)
        async with contextlib.aclosing(made.stream("p")) as stream:
            await anext(stream)
        return made.metrics.snapshot()

    counts = asyncio.run(run())
    assert (counts["abandoned"], counts["photos"]) == (1, 0)


@pytest.mark.parametrize(
    ("tier", "given", "why"),
    [
        (0, (0.9,), "score 0.9 is at least 0.8"),
        (0, (0.79999,), "score 0.79999 is below 0.8"),
        (0, (0.9, 7.0), "unlike the training photos: 7 is above 5"),
        (0, (0.5, 7.0), "score 0.5 is below 0.8"),
        (1, (0.9, None, "red"), "score 0.9 is below 0.95 for red"),
        (1, (0.9, None, "green"), "score 0.9 is at least 0.8"),
    ],
)
def test_why_an_answer_is_taken_or_not(tier, given, why):
    assert RULE.tiers[tier].reason(*given) == why


def test_why_where_scores_do_not_matter():
    first, last = RoutingRule.fixed("colour", ["tier1", "tier3"], [0.8]).tiers
    assert last.reason(0.1) == "every answer of this tier is accepted"
    nothing = first.model_copy(update={"accept_from": None})
    assert nothing.reason(1.0) == "no answer of this tier is accepted"


@given(st.floats(0, 1), st.floats(-9, 9), st.sampled_from(["red", "green"]), st.integers(0, 2))
def test_the_reason_agrees_with_the_decision(score, unknown, answer, tier):
    thresholds = RULE.tiers[tier]
    takes = thresholds.accepts(score, unknown, answer)
    assert ("is at least" in thresholds.reason(score, unknown, answer)) == takes
    many = thresholds.accepted(np.array([score]), np.array([unknown]), np.array([answer]))
    assert many.tolist() == [takes]


@pytest.mark.parametrize("score", [np.nan, -np.inf])
def test_what_is_no_score_is_not_accepted(score):
    assert not any(tier.accepts(score) for tier in RULE.tiers)
    assert not RULE.tiers[0].accepts(0.9, np.nan)


def test_costs_are_written_and_checked():
    written = RULE.model_dump_json()
    assert RoutingRule.model_validate_json(written) == RULE
    for wrong in ("-1", "NaN", '1, "minutes": 3'):
        with pytest.raises(ValueError, match="cost"):
            RoutingRule.model_validate_json(
                written.replace('"milliseconds":2.0', f'"milliseconds": {wrong}')
            )


def test_costs_are_those_of_tiers_that_answered():
    routed = streamed(router(0.5, DOWN, 0.9))
    assert [one.cost for one in routed] == [TierCost(2, 0, 0.5), TierCost(302, 0.01, 0.5)]
    assert 0 <= routed[0].milliseconds <= routed[1].milliseconds
    assert str(routed[1].cost) == "302 ms, 0.01 money, 0.5 energy"
    assert str(TierCost(62.6092, 0.0001)) == "62.6 ms, 0.0001 money"


def test_routed_answers_are_json():
    routed = streamed(router(0.5, 0.7, DOWN))[-1]
    told = json.loads(json.dumps(routed.as_json()))
    assert told["tier"] == "tier2"
    assert (told["accepted"], told["final"], told["degraded"]) == (False, True, True)
    assert told["missing"] == {"tier3": "no route"}
    assert told["why"] == "score 0.7 is below 0.8"
    assert told["cost"] == {"milliseconds": 12.0, "money": 0.0, "energy": 0.5}
    assert told["answer"] == "tier2 of p"


def test_rule_and_tiers_must_fit():
    with pytest.raises(ConfigError, match="its rule is for tier1, tier2, tier3"):
        Router([Fake("tier1", 0.9)], RULE)


def test_local_tiers_answer_in_threads_of_their_own():
    async def run():
        seen = set()

        def ask(photo):
            seen.add(threading.current_thread().name)
            return TierAnswer(photo, 0.9)

        tier = LocalTier("tier1", ask, workers=2)
        answers = await asyncio.gather(*(tier.ask(i) for i in range(64)))
        await tier.aclose()
        return [a.answer for a in answers], seen

    answers, seen = asyncio.run(run())
    assert answers == list(range(64))
    assert all(name.startswith("tier-tier1") for name in seen)
    assert len(seen) <= 2


def test_a_local_tier_that_hangs_times_out_and_keeps_no_photos():
    async def run():
        gate, started = threading.Event(), []

        def ask(photo):
            started.append(photo)
            gate.wait()
            return TierAnswer(photo, 0.9)

        tier = LocalTier("tier1", ask, timeout=0.05)
        found = await asyncio.gather(*(tier.ask(i) for i in range(64)), return_exceptions=True)
        waiting = tier._pool._work_queue.qsize()
        gate.set()
        tier._timeout = None
        after = await tier.ask("after")
        await tier.aclose()
        return found, started, waiting, after

    found, started, waiting, after = asyncio.run(run())
    assert all(isinstance(one, TierUnavailableError) for one in found)
    assert started == [0, "after"]
    assert waiting == 0
    assert after.answer == "after"


def test_a_closed_tier_is_unavailable():
    async def run():
        tier = LocalTier("tier1", lambda photo: TierAnswer(photo, 1.0))
        await tier.aclose()
        with pytest.raises(TierUnavailableError, match="closed"):
            await tier.ask("p")
        with pytest.raises(TierUnavailableError, match="closed"):  # and again: nothing is held
            await tier.ask("p")

    asyncio.run(run())


def test_threads_may_share_a_router():
    def make():
        return Router(
            [
                LocalTier("tier1", lambda photo: TierAnswer(photo, photo / 64)),
                LocalTier("tier2", lambda photo: TierAnswer(photo, photo / 32)),
                LocalTier("tier3", lambda photo: TierAnswer(photo, 1.0)),
            ],
            RULE,
        )

    found = {}
    with BlockingRouter(make) as shared:

        def work(photo):
            found[photo] = shared.answer(photo)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = shared.router.metrics.snapshot()
    assert {photo: routed.answer for photo, routed in found.items()} == {i: i for i in range(64)}
    assert counts["photos"] == 64
    assert counts["tiers"]["tier1"]["asked"] == 64
    assert counts["tiers"]["tier1"]["accepted"] == sum(i / 64 >= 0.8 for i in range(64))


def test_without_an_event_loop_answers_come_one_by_one_too():
    def make():
        return Router([Fake("tier1", 0.5), Fake("tier2", 0.6), Fake("tier3", 0.9)], RULE)

    with BlockingRouter(make) as shared:
        assert [one.tier for one in shared.stream("p")] == ["tier1", "tier2", "tier3"]
        leaving = shared.stream("q")
        assert next(leaving).tier == "tier1"
        leaving.close()
        counts = shared.router.metrics.snapshot()
        assert shared.router.tiers[1].asked == 1
    assert (counts["photos"], counts["abandoned"]) == (1, 1)


def test_a_router_that_cannot_be_made_leaves_no_thread():
    before = set(threading.enumerate())
    with pytest.raises(ConfigError):
        BlockingRouter(lambda: Router([], RULE))
    assert set(threading.enumerate()) <= before  # those of other tests may have ended meanwhile


def test_scores_of_an_answer(taxonomy):
    outputs = {
        "colour": np.array([[0.7, 0.2, 0.1]]),
        "colour.epistemic": np.array([0.3]),
        "shade": np.array([[0.1, 0.2, 0.3, 0.4]]),
        "marks": np.array([[0.1, 0.2]]),
    }
    decision = Decision(taxonomy)
    found = tier_answer("a", outputs, decision, RULE, UnknownScore("max_probability", "colour"))
    assert found == TierAnswer("a", pytest.approx(0.7), pytest.approx(-0.7), "red")
    margin = RULE.model_copy(update={"score": "margin"})
    assert tier_answer("a", outputs, decision, margin).score == pytest.approx(0.5)
    agreement = RULE.model_copy(update={"score": "agreement"})
    assert tier_answer("a", outputs, decision, agreement).score == pytest.approx(-0.3)
    del outputs["colour.epistemic"]
    with pytest.raises(ConfigError, match="routing score 'agreement'"):
        tier_answer("a", outputs, decision, agreement)
    with pytest.raises(ConfigError, match="'marks' is not a head with one answer"):
        tier_answer("a", outputs, decision, RULE.model_copy(update={"head": "marks"}))


def test_the_tiers_of_a_bundle_are_routed(written, photos):
    """Photos that the first tier is sure of are its own; the others go to the second."""
    opened = Bundle.open(written)
    predictors = {name: opened.predictor(name, threads=1) for name in opened.tiers}
    head = opened.taxonomy.heads[0].name
    rule = RoutingRule.fixed(head, opened.tiers, [0.6])
    given = photos(12)

    def asking(predictor):
        def ask(photo):
            outputs = predictor.outputs([photo])
            return tier_answer(predictor.answer(outputs), outputs, predictor.decision, rule)

        return ask

    async def run():
        tiers = [LocalTier(name, asking(one)) for name, one in predictors.items()]
        router = Router(tiers, rule)
        found = await asyncio.gather(*(router.answer(photo) for photo in given))
        await router.aclose()
        return found

    found = asyncio.run(run())
    sure = predictors["tier1"].probs(given)[head].max(axis=1) >= 0.6
    assert [r.tier for r in found] == ["tier1" if one else "tier2" for one in sure]
    assert {r.tier for r in found} == {"tier1", "tier2"}
    for routed, photo in zip(found, given, strict=True):
        expected = predictors[routed.tier].predict(photo)
        assert routed.answer.as_json() == expected.as_json()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_percentages_add_up(counts):
    shares = percentages({str(i): count for i, count in enumerate(counts)})
    assert round(sum(shares.values()), 6) == (100 if sum(counts) else 0)
    for i, count in enumerate(counts):
        assert abs(shares[str(i)] - 100 * count / max(1, sum(counts))) < 0.1 + 1e-9


def test_counts_by_hand():
    metrics = RouterMetrics(["tier1", "tier2"])
    for milliseconds in (0.5, 1.5, 3, 4, 30_000):
        metrics.asked("tier1", milliseconds)
    metrics.asked("tier2", 10, failed=True)
    metrics.answered("tier1", accepted=True)
    metrics.answered("tier1", accepted=False, degraded=True)
    metrics.answered("tier2", accepted=True)
    found = metrics.snapshot()
    assert found["photos"] == 3
    assert found["degraded"] == 1
    assert found["percent"] == {"tier1": 66.7, "tier2": 33.3, "none": 0.0}
    first = found["tiers"]["tier1"]
    assert (first["accepted"], first["best_so_far"], first["p50"]) == (1, 1, 5.0)
    assert first["p95"] is None  # beyond the last bucket
    assert first["milliseconds"] == pytest.approx(30_009 / 5)
    assert found["tiers"]["tier2"]["failed"] == 1


def test_prometheus_reads_the_same_counts():
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
    metrics = RouterMetrics(["tier1"])
    for milliseconds in (0.5, 3, 30_000):
        metrics.asked("tier1", milliseconds)
    metrics.answered("tier1", accepted=True)
    samples = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in parser.text_string_to_metric_families(metrics.prometheus().decode())
        for s in family.samples
    }
    of_tier = ("tier", "tier1")
    bucket = "cannabis_ml_tier_seconds_bucket"
    assert samples["cannabis_ml_tier_seconds_count", of_tier] == 3
    assert samples[bucket, ("le", "0.001"), of_tier] == 1
    assert samples[bucket, ("le", "0.005"), of_tier] == 2
    assert samples[bucket, ("le", "+Inf"), of_tier] == 3
    assert samples["cannabis_ml_tier_seconds_sum", of_tier] == pytest.approx(30.0035)
    assert samples["cannabis_ml_photos_answered_total", ("accepted", "yes"), of_tier] == 1


def test_threads_lose_no_count():
    metrics = RouterMetrics(["tier1"])

    def work():
        for _ in range(2000):
            metrics.asked("tier1", 1.0)
            metrics.answered("tier1", accepted=True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = metrics.snapshot()
    assert found["photos"] == found["tiers"]["tier1"]["asked"] == 16_000
