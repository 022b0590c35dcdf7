"""The button behind which a language model explains."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "assistant"))
from anthropic_server import AnthropicServer
from model_server import Fault

TEXT = "It is a green thing. The model looked at all of the photo."


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "secret")
    opened = AnthropicServer(lambda asked: {"text": TEXT})
    yield opened
    opened.close()


@pytest.fixture
def page(model, serve, bundle_of, visit, hands, photo_of, tmp_path):
    """The page with an answer, of a service whose language model explains."""
    params = {
        "folder": str(tmp_path / "answers"),
        "model": {"name": "words-1", "base_url": model.url, "key": "MODEL_KEY"},
        "pace": {"per_minute": 1e9, "first_wait": 0},
        "prices": {"date": "2026-11-25", "models": {}},
    }
    page = visit(serve(bundle_of(), assistant={"params": params}).address)
    hands.ready(page)
    hands.choose(page, photo_of((10, 240, 20)))
    page.wait_for_selector(hands.answer)
    return page


def test_an_explanation_comes_on_request_and_says_who_wrote_it(page, model):
    assert "words-1" in page.locator(".explain").inner_text()  # before anything is sent
    assert not model.asked
    page.locator(".explain button").click()
    page.wait_for_selector(".explained")
    shown = page.locator(".explained").inner_text()
    assert TEXT in shown
    assert "words-1" in shown
    (asked,) = model.asked
    assert '"en"' in asked.system


def test_an_explanation_that_fails_leaves_the_answer_and_the_button(page, model):
    model.answer = lambda asked: Fault(529)
    page.locator(".explain button").click()
    page.wait_for_selector(".toast")
    assert "529" in page.locator(".toast").inner_text()
    page.wait_for_selector(".explain button:not([disabled])")
    assert page.locator(".head-card").count() > 0


def test_without_a_language_model_there_is_no_button(address, visit, hands, photo_of):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of((10, 240, 20)))
    page.wait_for_selector(hands.answer)
    assert page.locator(".explain").count() == 0
