"""The page without a network, with a bad one, and with a service that changes under it."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from cannabis_ml.serving.page.files import PageFiles

pytestmark = pytest.mark.slow


def start_process(bundle, port):
    """A service in a process of its own, that can be killed."""
    command = [sys.executable, "-m", "cannabis_ml.serving", str(bundle.path), "--port", str(port)]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    while True:
        assert running.poll() is None
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return running


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def kept(page, hands):
    """Wait until the page works without a network."""
    hands.ready(page)
    page.get_by_text("Works without a network").wait_for()


def test_the_page_answers_after_the_server_was_killed(
    bundle_of, visit, hands, photo_of, free_port, colors
):
    running = start_process(bundle_of(), free_port)
    page = visit(f"http://127.0.0.1:{free_port}")
    kept(page, hands)
    running.kill()
    running.wait()
    page.reload()
    hands.ready(page)
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)
    assert "tier1" in page.locator(".source").inner_text()


def test_the_device_s_answer_stands_while_the_server_is_slow(
    bundle_of, visit, hands, photo_of, free_port, colors
):
    running = start_process(bundle_of(), free_port)
    try:
        page = visit(f"http://127.0.0.1:{free_port}")
        kept(page, hands)
        running.send_signal(signal.SIGSTOP)
        hands.choose(page, photo_of(colors["unsure"]))
        page.get_by_text("asking the server for a better answer").wait_for()
        assert "tier1" in page.locator(".source").inner_text()
        running.send_signal(signal.SIGCONT)
        page.wait_for_selector(".banner.better")
    finally:
        running.kill()
        running.wait()


def test_an_unsure_answer_waits_for_the_server_to_return(
    serve, bundle_of, visit, hands, photo_of, colors
):
    server = serve(bundle_of())
    page = visit(server.address)
    kept(page, hands)
    server.stop()
    hands.choose(page, photo_of(colors["unsure"]))
    page.get_by_text("The server cannot be reached").wait_for()
    assert "tier1" in page.locator(".source").inner_text()
    serve(bundle_of(), port=server.port)
    page.get_by_role("button", name="Ask the server again").click()
    page.wait_for_selector(".banner.better")
    assert "tier2" in page.locator(".source").inner_text()


def test_what_could_not_be_asked_is_asked_when_the_network_returns(
    address, visit, hands, photo_of, colors
):
    page = visit(address)
    kept(page, hands)
    with hands.no_network(page.context):
        hands.choose(page, photo_of(colors["unsure"]))
        page.get_by_text("The server cannot be reached").wait_for()
        page.get_by_text("No network").wait_for()
    page.wait_for_selector(".banner.better")


def test_a_busy_server_is_asked_again(serve, bundle_of, visit, hands, photo_of, colors):
    """Its one place is held by an upload that does not end, until it does."""
    server = serve(bundle_of(), limits={"waiting": 0, "upload_seconds": 60})
    page = visit(server.address)
    kept(page, hands)
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            b"POST /v2/analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"
            b"content-length: 1000\r\n\r\n"
        )
        while server.app.state.service.admission.inside == 0:
            time.sleep(0.01)
        hands.choose(page, photo_of(colors["unsure"]))
        page.get_by_text("The server is busy").wait_for()
        assert "tier1" in page.locator(".source").inner_text()
    page.wait_for_selector(".banner.better")


def test_a_device_that_computes_otherwise_sends_photos_to_the_server(
    address, visit, hands, photo_of, colors
):
    """As privacy protection does it: pixels that are read back are others than those drawn."""
    page = visit(address, "/page.json")
    context = page.context
    context.route(
        "**/assets/worker-*.js",
        lambda route: route.fulfill(
            content_type="text/javascript",
            body=SCRAMBLE + route.fetch().text(),
        ),
    )
    page.goto(address)
    page.get_by_text("changes the pixels of photos").wait_for()
    hands.choose(page, photo_of(colors["sure"]))
    page.locator(".source", has_text="server").wait_for()
    assert "tier2" in page.locator(".source").inner_text()


SCRAMBLE = """
const original = OffscreenCanvasRenderingContext2D.prototype.getImageData;
OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...given) {
  const image = original.apply(this, given);
  for (let at = 0; at < image.data.length; at++) {
    if (at % 4 !== 3) image.data[at] ^= 64;
  }
  return image;
};
"""


def bundle_in(page):
    """The bundle that the page answers from, by its service worker's cache."""
    return page.evaluate(
        """async () => {
          const names = await caches.keys();
          const answer = await (await caches.open(names[0])).match("/v2/bundle");
          return {names, id: (await answer.json()).id};
        }"""
    )


def test_an_old_page_takes_a_new_bundle_as_a_whole(
    serve, bundle_of, visit, hands, photo_of, colors
):
    before, after = bundle_of(), bundle_of(tier2="tflite", name="newer")
    server = serve(before)
    page = visit(server.address)
    kept(page, hands)
    assert bundle_in(page)["id"] == before.manifest.content_sha256
    server.stop()
    serve(after, port=server.port)
    page.reload()
    page.locator(".brand", has_text="newer").wait_for()
    kept(page, hands)
    found = bundle_in(page)
    assert found["id"] == after.manifest.content_sha256
    assert len(found["names"]) == 1
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)


def test_a_page_in_use_is_told_of_a_new_bundle_and_keeps_its_own(
    serve, bundle_of, visit, hands, photo_of, colors
):
    before, after = bundle_of(), bundle_of(factor=0.5, name="newer")
    server = serve(before)
    page = visit(server.address)
    kept(page, hands)
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)
    server.stop()
    serve(after, port=server.port)
    hands.choose(page, photo_of(colors["unsure"]))
    page.wait_for_selector(".banner.better")
    page.get_by_text("newer models than this page").wait_for()
    page.get_by_text("A new version is ready").wait_for()
    assert page.locator(".brand").inner_text() == "small"
    page.get_by_role("button", name="Use it now").click()
    page.locator(".brand", has_text="newer").wait_for()


def test_a_second_visit_asks_the_server_for_little(address, visit, hands):
    page = visit(address)
    kept(page, hands)
    asked = []

    def note(request):
        asked.append(request)

    page.context.on("request", note)
    page.reload()
    hands.ready(page)
    assert len(asked) > 5
    from_network = [
        request.url
        for request in asked
        if (answer := request.response()) is not None
        and not answer.from_service_worker
        and request.service_worker is None
        and not request.url.startswith("blob:")
    ]
    # Some bytes: whether a model is configured may change from one visit to the next.
    assert from_network == [f"{address}/v2/explain"]


def test_a_service_with_keys_asks_for_one(serve, bundle_of, visit, hands, photo_of, colors):
    from cannabis_ml.serving.settings import hash_key

    server = serve(bundle_of(), key_hashes=[hash_key("secret")])
    page = visit(server.address)
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("does not know that API key").wait_for()
    page.get_by_label("API key").fill("secret")
    page.get_by_role("button", name="Continue").click()
    kept(page, hands)
    hands.choose(page, photo_of(colors["unsure"]))
    page.wait_for_selector(".banner.better")


def test_people_keep_the_bundle_that_they_were_given(serve, bundle_of, visit, hands):
    """Sixteen at once, of whom the challenger answers half."""
    champion, challenger = bundle_of(), bundle_of(factor=0.5, name="newer")
    server = serve(champion, challenger=challenger, challenger_share=0.5)
    pages = [visit(server.address) for _ in range(16)]
    first = [name_when_ready(page, hands) for page in pages]
    for page in pages:
        page.reload()
    assert [name_when_ready(page, hands) for page in pages] == first
    # Less likely than 1 in 1,000 to be outside, of a binomial distribution.
    assert 1 < first.count("newer") < 15


def name_when_ready(page, hands):
    hands.ready(page)
    return page.locator(".brand").inner_text()


def test_everything_that_the_service_worker_keeps_was_built():
    files = PageFiles()
    script = files.service_worker("0" * 64)
    if script is None:
        pytest.skip("the page is not built: make page")
    assert b"/assets/app-" in script.data
