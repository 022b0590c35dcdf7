"""What the page answers in a browser, beside what the service answers for the same photo."""

import json

import httpx
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

GOLDEN_TOLERANCE = 1e-3


def kept_photos(page):
    """What the page keeps on the device, newest first."""
    return page.evaluate(
        """() => new Promise((resolve, reject) => {
          const request = indexedDB.open("cannabis_ml");
          request.onerror = () => reject(request.error);
          request.onsuccess = () => {
            const all = request.result.transaction("photos").objectStore("photos").getAll();
            all.onsuccess = () => resolve(all.result.map(({id, name, answers, said, photoId}) =>
              ({id, name, answers, said, photoId})));
          };
        })"""
    )


def wait_for_answers(page, count=1):
    """Wait until every photo has an answer, and the last word on it was said."""
    # `wait_for_function` takes a promise for an answer, whatever it resolves to.
    for _ in range(1200):
        kept = kept_photos(page)
        if len(kept) >= count and all(each["answers"] for each in kept):
            break
        page.wait_for_timeout(25)
    else:
        raise AssertionError(f"{len(kept)} photos with or without an answer, not {count}")
    page.wait_for_selector(".banner.asking.busy", state="detached")


def largest_difference(ours, theirs):
    assert ours.keys() == theirs.keys()
    return max(
        abs(ours[name]["probs"][each] - prob)
        for name, head in theirs.items()
        for each, prob in head["probs"].items()
    )


def test_golden_photos_get_the_server_s_tier_1_answer(address, visit, hands, bundle_of):
    bundle = bundle_of()
    files = [
        {"name": f"{i}.png", "mimeType": "image/png", "buffer": bundle.read(name)}
        for i, name in enumerate(bundle.golden().photos)
    ]
    page = visit(address)
    hands.ready(page)
    hands.choose(page, *files)
    wait_for_answers(page, len(files))
    found = {each["name"]: each["answers"][0] for each in kept_photos(page)}
    for file in files:
        told = found[file["name"]]
        assert told["where"] == "device"
        ours, theirs = told["report"], bundle.report(file["buffer"], tier="tier1")
        expected = json.loads(json.dumps(theirs.as_json()))
        assert largest_difference(ours["heads"], expected["heads"]) <= GOLDEN_TOLERANCE
        for name, head in expected["heads"].items():
            for part in ("answer", "best_guess", "backed_off"):
                assert ours["heads"][name][part] == head[part]
            assert ours["heads"][name]["recommendation"] == head["recommendation"]
        assert ours["unknown"]["is_unknown"] == expected["unknown"]["is_unknown"]


def test_a_photo_that_tier_1_is_sure_of_is_not_sent(address, visit, hands, photo_of, colors):
    page = visit(address)
    hands.ready(page)
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)
    assert "tier1" in page.locator(".source").inner_text()
    assert "POST" not in sent


def test_a_better_answer_of_the_server_replaces_the_first_one(
    address, visit, hands, photo_of, colors
):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of(colors["unsure"]))
    page.wait_for_selector(".banner.better")
    assert "tier2" in page.locator(".source").inner_text()
    (kept,) = kept_photos(page)
    assert [each["where"] for each in kept["answers"]] == ["device", "server"]


@pytest.mark.parametrize("tier2", ["tflite", "page"])
def test_tier_2_answers_on_the_device_where_the_bundle_holds_it(
    serve, bundle_of, visit, hands, photo_of, colors, tier2
):
    page = visit(serve(bundle_of(tier2=tier2)).address)
    hands.ready(page)
    page.locator(".bottom").get_by_text("About").click()
    page.get_by_text("tier2: on this device").wait_for()
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    hands.choose(page, photo_of(colors["unsure"]))
    page.locator(".source", has_text="tier2").wait_for()
    (kept,) = kept_photos(page)
    assert [each["report"]["tier"] for each in kept["answers"]] == ["tier1", "tier2"]
    assert "POST" not in sent


def test_an_unknown_photo_is_called_so(address, visit, hands, photo_of, colors):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of(colors["unknown"]))
    page.wait_for_selector(".banner.unknown")
    assert "does not look like anything I know" in page.inner_text("main")


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("notes.txt", "text/plain", b"not a photo"),
        ("broken.jpg", "image/jpeg", b"\xff\xd8\xff\xe0 cut off"),
        ("empty.png", "image/png", b""),
    ],
)
def test_a_wrong_file_is_refused_in_words(address, visit, hands, name, kind, data):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, {"name": name, "mimeType": kind, "buffer": data})
    page.wait_for_selector(".banner.fault")
    assert "cannot be read as a photo" in page.inner_text("main")
    assert page.locator(hands.answer).count() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(address, visit, hands, bundle_of, file_of, orientation):
    """Left half sure, right half unlike it: what is cut off depends on how it is turned."""
    pixels = np.zeros((120, 60, 3), np.uint8)
    pixels[:70] = (250, 10, 10)
    pixels[70:, :30] = (10, 240, 20)
    pixels[70:, 30:] = (20, 20, 230)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = file_of(Image.fromarray(pixels), "turned.jpg", exif=exif, quality=95, subsampling=0)
    page = visit(address)
    hands.ready(page)
    hands.choose(page, file)
    wait_for_answers(page)
    (kept,) = kept_photos(page)
    theirs = bundle_of().report(file["buffer"], tier="tier1").as_json()
    ours = kept["answers"][0]["report"]["heads"]
    assert largest_difference(ours, theirs["heads"]) < 0.02


def test_a_photo_of_12_megapixels_gets_the_server_s_answer(
    address, visit, hands, bundle_of, file_of
):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = file_of(Image.fromarray(coarse).resize((4000, 3000), Image.BICUBIC), "large.jpg")
    page = visit(address)
    hands.ready(page)
    hands.choose(page, file)
    wait_for_answers(page)
    (kept,) = kept_photos(page)
    theirs = bundle_of().report(file["buffer"], tier="tier1").as_json()
    assert largest_difference(kept["answers"][0]["report"]["heads"], theirs["heads"]) < 0.02


def test_several_photos_at_once_each_get_an_answer(address, visit, hands, photo_of):
    page = visit(address)
    hands.ready(page)
    colors = {"red.png": (250, 10, 10), "green.png": (10, 240, 20), "blue.png": (20, 20, 230)}
    hands.choose(page, *(photo_of(color, name) for name, color in colors.items()))
    wait_for_answers(page, 3)
    assert {each["name"] for each in kept_photos(page)} == set(colors)
    assert page.locator(".strip a").count() == 3


def test_photos_can_be_dropped_and_pasted(address, visit, hands, photo_of):
    page = visit(address)
    hands.ready(page)
    data = list(photo_of((10, 240, 20))["buffer"])
    for event, name in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([kind, field, bytes]) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([new Uint8Array(bytes)], `${kind}.png`,
                                          {type: "image/png"}));
              const event = kind === "drop"
                ? new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true})
                : new ClipboardEvent(kind, {clipboardData: transfer, bubbles: true});
              document.body.dispatchEvent(event);
            }""",
            [event, name, data],
        )
    wait_for_answers(page, 2)
    assert {each["name"] for each in kept_photos(page)} == {"drop.png", "paste.png"}


def test_a_heat_map_comes_on_request(address, visit, hands, photo_of):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of((10, 240, 20)))
    page.wait_for_selector(hands.answer)
    page.locator(".heat").click()
    page.wait_for_selector(".picture figcaption")
    size = page.evaluate("document.querySelector('.picture img').naturalWidth")
    assert size > 0


def test_the_service_takes_the_input_that_the_page_computed(address, bundle_of, photo_of):
    """As the page sends it, the input gets the very answer of the photo."""
    bundle = bundle_of()
    size = bundle.tier_file("tier2").image_size
    (names,) = (bundle.golden().inputs[str(size)],)
    for photo, seen in zip(bundle.golden().photos, names, strict=True):
        answers = [
            httpx.post(
                f"{address}/v2/analyze",
                content=bundle.read(name),
                headers={"content-type": "image/png"},
            ).json()["heads"]
            for name in (photo, seen)
        ]
        assert largest_difference(*answers) <= 1e-6
