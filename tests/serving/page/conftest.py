"""The built page in a browser of the system, over a bundle whose first tier runs in it."""

from __future__ import annotations

import importlib.util
import io
import itertools
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import BundleContents, write_bundle
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.page.files import ABOUT, BUILT
from cannabis_ml.serving.settings import ServiceSettings

PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
    "locale": "en-US",
}

ELSEWHERE = "page.test"
"""This machine under a name that browsers trust less without https."""

AXE = BUILT.parent / "node_modules" / "axe-core" / "axe.min.js"

ANSWER = "main .answer-name"
ROUTING_HEAD = "kind.of thing"
SURE_FROM = 0.95
"""Of the routing head's answer, above which the first tier is not asked about further."""

GOLDEN_COLORS = [(250, 10, 10), (128, 128, 128), (10, 240, 20)]


def _network():
    """The small network of the tests of inference."""
    path = Path(__file__).parents[2] / "inference" / "conftest.py"
    spec = importlib.util.spec_from_file_location("small_network_of_the_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def page_is_built():
    if not (BUILT / ABOUT).is_file():
        pytest.skip("the page is not built: make page")


# As long as playwright runs, its thread has an event loop, and tests that bring their own fail.
@pytest.fixture(scope="module")
def browser(page_is_built, chromium):
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        options = [
            "--no-sandbox",  # refused to root without it; the page is our own
            f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
        ]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """A visitor with a browser profile of its own: `page = visit(address, color_scheme="dark")`.

    What the page logs as an error or throws fails the test.
    """
    contexts, errors = [], []

    def open_page(address, path="/", **options):
        context = browser.new_context(**{**PHONE, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="session")
def tflite(once):
    """The small network as TFLite, without a card: converting takes seconds."""

    def make(folder):
        (folder / "small.tflite").write_bytes(_network().tflite_bytes())

    return (once("page_network", make) / "small.tflite").read_bytes()


@pytest.fixture(scope="session")
def bundle_of(tflite, tmp_path_factory):
    """Tier 1 as TFLite, tier 2 as ONNX, of the same weights times `factor`: `bundle_of(factor=2)`.

    `tier2="tflite"` and `tier2="page"`, beside ONNX, let the second tier run in a browser too.
    """
    made = {}

    def make(factor=1.0, tier2="onnx", name="small"):
        if (factor, tier2, name) not in made:
            folder = tmp_path_factory.mktemp("page") / "bundle"
            made[factor, tier2, name] = _written(folder, tflite, factor, tier2, name)
        return made[factor, tier2, name]

    return make


def _written(folder, tflite, factor, tier2, name):
    network = _network()

    def file(tier, kind):
        if kind == "page":
            return {**file(tier, "onnx"), "page": file(tier, "tflite")["float"]}
        weights = {head: np.float32(factor) * w for head, w in network.WEIGHTS.items()}
        raw = network.onnx_model(weights).SerializeToString() if kind == "onnx" else tflite
        card = network.card(quantization="float", format=kind, tier=tier)
        model = ModelFile(raw, kind, "float")
        return {"float": network.with_card_text(model, network.json.dumps(card))}

    random = np.random.default_rng(0)
    photos = [
        np.clip(np.array(c) + random.integers(-9, 9, (h, 33, 3)), 0, 255).astype(np.uint8)
        for c, h in zip(GOLDEN_COLORS, (20, 33, 50), strict=True)
    ]
    write_bundle(
        folder,
        BundleContents(
            name=name,
            created="2026-11-21T12:00:00+00:00",
            taxonomy=network.TAXONOMY,
            tiers={"tier1": file("tier1", "tflite"), "tier2": file("tier2", tier2)},
            photos=photos,
            model_card=f"{network.MODEL_CARD}\nKnows *three* colors.\n\n## Files\n\n- `tier1`\n",
            reliability={"tier1": network.RELIABILITY},
            unknown={tier: network.unknown_score() for tier in ("tier1", "tier2")},
            routing=RoutingRule.fixed(ROUTING_HEAD, ["tier1", "tier2"], [SURE_FROM]),
        ),
    )
    return Bundle.open(folder)


class Server:
    """A service that can be stopped and started again at the same address."""

    def __init__(self, bundle, settings, port=0, challenger=None):
        settings = ServiceSettings.model_validate(settings)
        self.app = create_app(bundle, settings, challenger=challenger)
        config = uvicorn.Config(
            self.app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self._server.force_exit = self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve():
    """Start a service: `serve(bundle, limits={…}, port=…)`."""
    running = []

    def start(bundle, port=0, challenger=None, **settings):
        running.append(Server(bundle, settings, port, challenger))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def address(serve, bundle_of):
    """Of a service over the small bundle."""
    return serve(bundle_of()).address


@pytest.fixture(scope="session")
def photo_of():
    """A photo as a file for an upload field: `photo_of((250, 10, 10), name="a.jpg", side=64)`."""

    def make(color, name="photo.png", side=64, **saving):
        random = np.random.default_rng(0)
        pixels = np.clip(np.array(color) + random.integers(-9, 9, (side, side, 3)), 0, 255)
        return as_file(Image.fromarray(pixels.astype(np.uint8)), name, **saving)

    return make


@pytest.fixture(scope="session")
def colors(bundle_of, photo_of):
    """Colors of photos by what the first tier makes of them: `sure`, `unsure`, `unknown`."""
    found = {}
    for color in itertools.product((10, 128, 245), repeat=3):
        told = bundle_of().report(photo_of(color)["buffer"], tier="tier1").as_json()
        confidence = told["heads"][ROUTING_HEAD]["confidence"]
        is_sure = "sure" if confidence > SURE_FROM + 0.01 else "unsure"
        found.setdefault("unknown" if told["unknown"]["is_unknown"] else is_sure, color)
        if len(found) == 3:
            return found
    raise AssertionError(f"no photos of every kind: {found}")


def as_file(image, name, **saving):
    held = io.BytesIO()
    suffix = name.rpartition(".")[2].upper().replace("JPG", "JPEG")
    image.save(held, suffix, **saving)
    return {"name": name, "mimeType": f"image/{suffix.lower()}", "buffer": held.getvalue()}


@pytest.fixture(scope="session")
def file_of():
    """An image as a file for an upload field: `file_of(image, "photo.jpg", exif=…)`."""
    return as_file


@pytest.fixture(scope="session")
def faults():
    """What axe-core finds on a page, as text: `faults(page)`."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make page")
    axe = AXE.read_text("utf-8")

    def find(page):
        session = page.context.new_cdp_session(page)  # the page's policy keeps others' scripts out
        session.send("Runtime.evaluate", {"expression": axe})
        found = page.evaluate(
            """() => axe.run(document, {
              runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
            }).then(({violations}) => violations.flatMap(each =>
              each.nodes.map(node => `${each.id}: ${node.target} ${node.failureSummary}`)))"""
        )
        session.detach()
        return found

    return find


def ready(page):
    """Wait until the page answers by itself."""
    page.wait_for_selector(".state.good")


def choose(page, *files):
    """Choose files, as a person does."""
    with page.expect_file_chooser() as chooser:
        page.locator(".bottom .choose").click()
    chooser.value.set_files(list(files))


def redraw_while_pressed(page, button):
    """Press a button with the mouse, lose the network, which the page shows, and let go."""
    button.hover()
    page.mouse.down()
    page.context.set_offline(True)
    page.wait_for_function("() => !navigator.onLine")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    page.mouse.up()
    page.locator(".top .offline").wait_for()


@pytest.fixture(scope="session")
def hands():
    """What a person does: `hands.choose(page, file)`, `hands.ready(page)`, …"""
    from types import SimpleNamespace

    @contextmanager
    def no_network(context):
        context.set_offline(True)
        yield
        context.set_offline(False)

    return SimpleNamespace(
        ready=ready,
        choose=choose,
        redraw_while_pressed=redraw_while_pressed,
        no_network=no_network,
        answer=ANSWER,
        elsewhere=ELSEWHERE,
    )
