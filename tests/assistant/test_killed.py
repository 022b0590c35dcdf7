"""Kill -9 in the middle of 200 photos, and the run after it."""

import os
import signal
import threading
from pathlib import Path

import pytest

from cannabis_ml.assistant.outgoing import photos_in
from cannabis_ml.assistant.params import SuggestParams
from cannabis_ml.assistant.suggesting import label_questions

PHOTOS = 200
BATCH = {"batch": True, "batch_from": 20}


@pytest.fixture(scope="module")
def photos(folder):
    return folder(PHOTOS)


@pytest.fixture(scope="module")
def two_hundred(photos, taxonomy):
    return label_questions(photos_in(photos), taxonomy, SuggestParams())


@pytest.fixture
def start(askers, settings, server, taxonomy, photos):
    """Start a process that asks about all photos: `start(budget={…})`; `start("5")` ends itself."""

    def start(*die_after, **changes):
        script = Path(__file__).with_name("ask.py")
        params = settings(**changes).model_dump_json()
        command = [script, params, taxonomy.model_dump_json(), photos, *die_after]
        keys = {"ANTHROPIC_API_KEY": "secret", "OPENAI_API_KEY": "secret"}
        return askers.start(command, env=dict(os.environ) | keys)

    return start


def kill(process, moment):
    while not moment.wait(0.05):
        process._pause()
        if (process._results / "ended").exists():
            pytest.fail(process.wait().stderr)
    process.send_signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL


@pytest.mark.parametrize("by_name", [False, True], ids=["as usual", "a server that bills by name"])
def test_one_by_one_only_what_was_under_way_may_be_billed_twice(
    server, runner, start, two_hundred, by_name
):
    """Never more than the requests under way, each known with its price; none by name."""
    server.bills_by_name = by_name
    good, enough = server.answer, threading.Event()

    def answer(asked):
        if asked.number >= 90:
            enough.set()
        return good(asked)

    server.answer = answer
    kill(start(), enough)
    paid = sum(server.billed.values())
    assert 80 <= paid < PHOTOS
    result = runner().run(two_hundred)
    assert len(result.of("answered")) == PHOTOS
    assert len(server.billed) == PHOTOS
    twice = sum(count - 1 for count in server.billed.values())
    assert twice <= (0 if by_name else len(result.doubts)) <= 4
    made = runner()
    assert made.run(two_hundred).doubts == ()  # each counts once
    (killed, own) = made.ledger.all_spent()
    lost = sum(doubt.most_usd for doubt in result.doubts)
    assert killed.may_be_billed_usd == pytest.approx(lost)
    price = (server.tokens + 100) * 1000 / 1e6
    assert own.usd == pytest.approx(result.usd)
    assert killed.usd + own.usd == pytest.approx(PHOTOS * price + lost)
    bill = sum(server.billed.values()) * price
    assert bill <= killed.usd + own.usd + 1e-6


@pytest.mark.parametrize(
    ("server", "moment"),
    [(name, "sent") for name in ("anthropic", "openai")]
    + [("anthropic", "waiting"), ("openai", "reading")],
    indirect=["server"],
)
def test_in_a_batch_nothing_is_billed_twice(server, runner, start, two_hundred, moment):
    """The batch is taken and its reply never comes; it is under way; its results are read."""
    reached, route = threading.Event(), server.route

    def is_moment(method, path):
        return {
            "sent": bool(server.batches) and method == "POST",
            "waiting": bool(server.batches) and method == "GET",
            "reading": "results" in path or path.endswith("/content"),
        }[moment]

    def halting(method, path, body, headers):
        reply = route(method, path, body, headers)
        if not reached.is_set() and is_moment(method, path):
            reached.set()
            server.released.wait(20)
        return reply

    server.route = halting
    kill(start(budget=BATCH), reached)
    server.released.set()
    assert sum(server.billed.values()) == PHOTOS
    result = runner(budget=BATCH).run(two_hundred)
    assert len(result.of("answered")) == PHOTOS
    assert sorted(server.billed.values()) == [1] * PHOTOS
    assert result.doubts == ()
    assert runner(budget=BATCH).run(two_hundred).usd == 0


@pytest.mark.parametrize("server", ["anthropic"], indirect=True)
def test_results_that_were_half_kept_are_not_kept_twice(server, runner, start, two_hundred):
    assert start("90", budget=BATCH).wait().returncode == -signal.SIGKILL
    made = runner(budget=BATCH)
    assert sum(made.kept(item) is not None for item in two_hundred) == 90
    result = made.run(two_hundred)
    assert len(result.of("answered")) == PHOTOS
    assert sorted(server.billed.values()) == [1] * PHOTOS
    for item in two_hundred:
        assert len(made.cache.get(made.key(item)).replies) == 1
