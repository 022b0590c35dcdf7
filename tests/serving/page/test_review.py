"""The review page in a browser: keys, thumbs, undo, broken connections, and who gets in."""

import io

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.photos.fingerprint import photo_id as id_of
from cannabis_ml.serving.page.files import BUILT, REVIEW
from cannabis_ml.serving.settings import hash_key

pytestmark = pytest.mark.slow

KEY = "key-of-a-reviewer"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}
KEYS_ALONE = {"viewport": DESK, "has_touch": False, "is_mobile": False, "device_scale_factor": 1}


def photo(number):
    """A photo with a gradient of a color of its own."""
    ramp = np.linspace(0.3, 1, 480)[:, None, None] * np.ones((480, 640, 1))
    color = np.array([(190, 120, 60), (70, 150, 90), (120, 90, 170), (200, 190, 90)][number % 4])
    held = io.BytesIO()
    Image.fromarray((ramp * color).astype(np.uint8)).save(held, "JPEG")
    return held.getvalue()


@pytest.fixture
def up(serve, bundle_of, tmp_path):
    """A service with three photos up, the second an audit: server, heads, and what it was told."""
    if not (BUILT / REVIEW).is_file():
        pytest.skip("the review page is not built: make page")
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    bundle = bundle_of()
    heads = bundle.taxonomy.heads
    label = heads[0].class_names[0]
    suggestion = {
        "bundle_id": bundle.manifest.content_sha256,
        "tier": "tier2",
        "heads": {heads[0].name: {"label": label, "confidence": 0.7}},
    }
    entries = []
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(photo(number))
        entries.append(
            QueueEntry(
                photo_id=id_of(path.read_bytes()),
                path=str(path),
                source="audit" if number == 1 else "label_next",
                rank=number + 1,
                kind="audit" if number == 1 else "margin",
                reason="the model wavers between two classes",
                blind=number == 1,
                suggestion=suggestion,
            )
        )
    with FeedbackStore(url) as store:
        store.fill_queue(QueueList(sources=("audit", "label_next"), entries=tuple(entries)))
        ids = [one.photo_id for one in store.waiting("nobody", 1, 9)[1]]
    server = serve(bundle, feedback={"database": url}, reviewer_key_hashes=[hash_key(KEY)])

    class Up:
        address, photos = server.address, ids

        @staticmethod
        def opinions():
            with FeedbackStore(url) as store:
                return store.opinions().to_dict("records")

    Up.heads = heads
    return Up


@pytest.fixture
def review(visit, up):
    """Open the page and enter the key: `page = review(viewport=…)`."""

    def open_page(**options):
        page = visit(up.address, "/review", **options)
        enter(page, KEY)
        shows(page, up.photos[0])
        return page

    return open_page


def enter(page, key):
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def shows(page, photo_id):
    page.wait_for_selector(f"img[data-photo='{photo_id}']")


def finished(page):
    page.get_by_role("heading", name="Nothing waits for you").wait_for()


def judge(page, heads):
    """The second class of each head, by keys alone."""
    for head in heads:
        page.keyboard.press("2")
        if head.kind == "multilabel":
            page.keyboard.press("Enter")


def sent(page, up, count, are_these=lambda _: True):
    """Wait until so many opinions are in the store, and the right ones, and give them."""
    for _ in range(400):
        found = up.opinions()
        if len(found) == count and are_these(found):
            return found
        page.wait_for_timeout(25)
    raise AssertionError(f"{len(found)} opinions, not {count}")


def told(opinions, photo_id):
    return {one["head"]: one for one in opinions if one["photo_id"] == photo_id}


def test_a_photo_is_judged_by_keys_alone(review, up):
    page = review(**KEYS_ALONE)
    judge(page, up.heads)
    shows(page, up.photos[1])
    found = told(sent(page, up, len(up.heads)), up.photos[0])
    for head in up.heads:
        second = head.class_names[1]
        right = [second] if head.kind == "multilabel" else second
        assert (found[head.name]["label"], found[head.name]["verdict"]) == (right, "corrected")
        assert found[head.name]["seen_answer"]
    assert found[up.heads[0].name]["answered"] == up.heads[0].class_names[0]
    assert "1 done, 2 waiting" in page.locator(".far").inner_text()


def test_the_answer_for_an_audit_stays_hidden_until_it_is_asked_for(review, up):
    page = review(**KEYS_ALONE)
    assert page.locator(".shown-answer").count() == 1
    page.keyboard.press("s")
    shows(page, up.photos[1])
    assert page.locator(".shown-answer").count() == page.locator(".option small").count() == 0
    page.keyboard.press("a")  # nothing to agree with
    judge(page, up.heads)
    first = told(sent(page, up, len(up.heads)), up.photos[1])[up.heads[0].name]
    assert not first["seen_answer"]
    assert first["bundle_id"] == ""
    page.keyboard.press("u")
    shows(page, up.photos[1])
    sent(page, up, 0)
    page.keyboard.press("h")
    page.wait_for_selector(".shown-answer")
    judge(page, up.heads)
    first = told(sent(page, up, len(up.heads)), up.photos[1])[up.heads[0].name]
    assert first["seen_answer"]
    assert first["answered"] == up.heads[0].class_names[0]


def test_agreeing_confirms(review, up):
    page = review(**KEYS_ALONE)
    page.keyboard.press("a")
    for _ in up.heads[1:]:
        page.keyboard.press("n")
    shows(page, up.photos[1])
    found = told(sent(page, up, len(up.heads)), up.photos[0])
    assert found[up.heads[0].name]["verdict"] == "confirmed"
    assert {found[head.name]["verdict"] for head in up.heads[1:]} == {"unsure"}


def test_undo_takes_back_choices_and_then_opinions(review, up):
    page = review(**KEYS_ALONE)
    page.keyboard.press("1")
    page.keyboard.press("u")
    assert page.locator(".option.chosen").count() == 0
    judge(page, up.heads)
    shows(page, up.photos[1])
    sent(page, up, len(up.heads))
    page.keyboard.press("u")
    shows(page, up.photos[0])
    sent(page, up, 0)
    assert "0 done, 3 waiting" in page.locator(".far").inner_text()


def test_arrows_go_back_and_a_second_thought_replaces_the_first(review, up):
    page = review(**KEYS_ALONE)
    judge(page, up.heads)
    shows(page, up.photos[1])
    page.keyboard.press("ArrowLeft")
    shows(page, up.photos[0])
    assert (
        page.locator(".option.chosen")
        .inner_text()
        .splitlines()[-1]
        .lower()
        .endswith(up.heads[0].class_names[1].lower())
    )
    page.keyboard.press("1")
    shows(page, up.photos[1])
    first = up.heads[0]

    def is_replaced(opinions):
        return told(opinions, up.photos[0])[first.name]["label"] == first.class_names[0]

    sent(page, up, len(up.heads), is_replaced)


def test_skipped_photos_come_again_at_the_end(review, up):
    page = review(**KEYS_ALONE)
    for following in (*up.photos[1:], None):
        page.keyboard.press("s")
        if following:
            shows(page, following)
    finished(page)
    page.get_by_role("button", name="Show the 3 skipped ones").click()
    shows(page, up.photos[0])
    assert up.opinions() == []


def test_nothing_is_lost_while_there_is_no_connection(review, up):
    page = review(**KEYS_ALONE)
    page.wait_for_timeout(300)  # the next photo is fetched ahead
    page.context.set_offline(True)
    judge(page, up.heads)
    shows(page, up.photos[1])
    page.locator(".unsent").wait_for()
    assert up.opinions() == []
    page.context.set_offline(False)
    sent(page, up, len(up.heads))
    page.locator(".offline").wait_for(state="detached")


def test_a_lost_reply_counts_once_and_can_be_undone(review, up):
    page = review(**KEYS_ALONE)
    keys = []

    def lose(route):
        keys.append(route.request.post_data_json["key"])
        route.fetch()
        route.abort()

    page.route("**/v2/feedback", lose, times=1)
    with page.expect_response("**/v2/feedback") as answer:
        judge(page, up.heads)
        shows(page, up.photos[1])
    assert answer.value.json()["is_retry"]
    assert answer.value.request.post_data_json["key"] == keys[0]
    sent(page, up, len(up.heads))
    page.keyboard.press("u")
    sent(page, up, 0)


def test_what_was_not_sent_is_sent_by_the_next_visit(review, up):
    page = review(**KEYS_ALONE)
    page.route("**/v2/feedback", lambda route: route.abort())
    judge(page, up.heads)
    shows(page, up.photos[1])
    page.locator(".offline").wait_for()
    page.unroute("**/v2/feedback")
    page.reload()
    shows(page, up.photos[1])
    sent(page, up, len(up.heads))


def test_thumbs_judge_a_photo_on_a_phone(review, up):
    page = review(viewport=PHONE)
    for head in up.heads:
        page.locator(".option").nth(1).tap()
        if head.kind == "multilabel":
            page.locator(".these").tap()
    shows(page, up.photos[1])
    sent(page, up, len(up.heads))
    for button in page.locator(".option, .bottom button").all():
        box = button.bounding_box()
        assert box["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator(".undo").tap()
    shows(page, up.photos[0])
    sent(page, up, 0)


def test_a_tap_counts_where_the_page_is_drawn_meanwhile(review, hands, up):
    page = review(**KEYS_ALONE)
    hands.redraw_while_pressed(page, page.locator(".bottom .skip-photo"))
    page.locator(".said-last", has_text="Skipped").wait_for(state="attached")


def test_only_a_reviewers_key_gets_in(visit, up):
    page = visit(up.address, "/review")
    page.get_by_text("This page needs a key for reviewers.").wait_for()
    enter(page, "another")
    page.get_by_text("This key may not review.").wait_for()
    enter(page, KEY)
    shows(page, up.photos[0])
    page.reload()
    shows(page, up.photos[0])


def test_a_service_without_a_store_tells_so(visit, serve, bundle_of):
    address = serve(bundle_of(), reviewer_key_hashes=[hash_key(KEY)]).address
    page = visit(address, "/review")
    enter(page, KEY)
    page.get_by_text("This service keeps no feedback").wait_for()


def test_it_speaks_spanish(visit, up):
    page = visit(up.address, "/review", locale="es-MX")
    page.get_by_label("Clave de API").fill(KEY)
    page.keyboard.press("Enter")
    shows(page, up.photos[0])
    assert page.get_by_role("button", name="No sé").is_visible()
    page.get_by_label("Idioma").select_option("en")
    assert page.get_by_role("button", name="Not sure").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_axe_finds_nothing(review, up, faults, scheme, size):
    page = review(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    found = faults(page)
    page.keyboard.press("s")
    shows(page, up.photos[1])
    for _ in up.heads:
        found += faults(page)
        page.keyboard.press("2")
    for _ in range(3):
        page.keyboard.press("s")
    finished(page)
    assert found + faults(page) == []


def test_two_tabs_without_a_connection_lose_nothing(review, up):
    page = review(**KEYS_ALONE)
    other = page.context.new_page()
    other.goto(f"{up.address}/review")
    shows(other, up.photos[0])
    other.keyboard.press("s")
    shows(other, up.photos[1])
    page.context.set_offline(True)
    page.bring_to_front()
    judge(page, up.heads)
    other.bring_to_front()
    judge(other, up.heads)
    other.locator(".unsent", has_text="2 not sent yet").wait_for()
    page.context.set_offline(False)
    sent(other, up, 2 * len(up.heads))
