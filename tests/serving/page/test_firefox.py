"""One pass in Firefox, over WebDriver BiDi, which it speaks without a driver beside it."""

import base64
import itertools
import json
import shutil
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow

FIREFOX = ("firefox-esr", "firefox")

DROP = """
(async () => {
  const bytes = Uint8Array.from(atob("%s"), each => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo.png", {type: "image/png"}));
  document.body.dispatchEvent(
    new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
  const found = () => new Promise(resolve => {
    const request = indexedDB.open("cannabis_ml");
    request.onsuccess = () => {
      const all = request.result.transaction("photos").objectStore("photos").getAll();
      all.onsuccess = () => resolve(all.result.filter(each => each.answers.length));
    };
  });
  for (;;) {
    const photos = await found();
    if (photos.length === %d) {
      photos.sort((a, b) => b.at - a.at);
      return JSON.stringify(photos[0].answers[0]);
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
})()
"""

READY = """
new Promise(resolve => {
  const look = () => {
    const state = document.querySelector(".state");
    if (state?.matches(".good, .bad")) resolve(state.className);
    else setTimeout(look, 50);
  };
  look();
})
"""


class Firefox:
    """A browser that does what it is told: `firefox("browsingContext.navigate", url=…)`."""

    def __init__(self, command, profile):
        websocket = pytest.importorskip("websocket", reason="websocket-client is not installed")
        options = ["--headless", "--no-remote", "--remote-debugging-port", "0"]
        with (profile / "log.txt").open("w") as log:
            self._process = subprocess.Popen(
                [command, *options, "--profile", str(profile), "about:blank"], stderr=log
            )
        said = "WebDriver BiDi listening on "
        while said not in (told := (profile / "log.txt").read_text()):
            assert self._process.poll() is None, told
            time.sleep(0.05)
        address = f"{told.partition(said)[2].split()[0]}/session"
        self._socket = websocket.create_connection(address, suppress_origin=True)
        self._ids = itertools.count()
        self("session.new", capabilities={})
        self.tab = self("browsingContext.getTree")["contexts"][0]["context"]

    def __call__(self, method, **parameters):
        told = next(self._ids)
        self._socket.send(json.dumps({"id": told, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == told:
                assert answer["type"] == "success", answer
                return answer["result"]

    def evaluate(self, expression):
        found = self(
            "script.evaluate",
            expression=expression,
            target={"context": self.tab},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return found["result"]["value"]

    def close(self):
        self._socket.close()
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def firefox(page_is_built, tmp_path):
    found = next(filter(None, map(shutil.which, FIREFOX)), None)
    if found is None:
        pytest.skip(f"no Firefox to open the page with: none of {', '.join(FIREFOX)} is there")
    (tmp_path / "profile").mkdir()
    browser = Firefox(found, tmp_path / "profile")
    yield browser
    browser.close()


def test_firefox_gives_the_server_s_answers(firefox, address, bundle_of):
    bundle = bundle_of()
    firefox("browsingContext.navigate", context=firefox.tab, url=address, wait="complete")
    assert firefox.evaluate(READY) == "state good"
    for count, name in enumerate(bundle.golden().photos, 1):
        data = bundle.read(name)
        told = json.loads(firefox.evaluate(DROP % (base64.b64encode(data).decode(), count)))
        assert told["where"] == "device"
        expected = bundle.report(data, tier="tier1").as_json()["heads"]
        for head, found in told["report"]["heads"].items():
            assert found["answer"] == expected[head]["answer"]
            assert found["probs"] == pytest.approx(expected[head]["probs"], abs=1e-3)
