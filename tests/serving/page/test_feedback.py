"""What people think of answers: from two taps on a phone to the store, or taken back."""

import pytest

from cannabis_ml.feedback.store import FeedbackStore

pytestmark = pytest.mark.slow


HOW_MANY_WAIT = """() => new Promise((resolve) => {
    indexedDB.open("cannabis_ml").onsuccess = ({ target }) => {
        const kept = target.result.transaction("queue").objectStore("queue").count();
        kept.onsuccess = () => resolve(kept.result);
    };
})"""


@pytest.fixture
def store(serve, bundle_of, tmp_path):
    """A service that keeps feedback: its server, and a function that reads every opinion."""
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    server = serve(bundle_of(), feedback={"database": url})

    def opinions():
        with FeedbackStore(url) as kept:
            return kept.opinions().to_dict("records")

    return server, opinions


def told(page, text):
    page.locator(".said", has_text=text).first.wait_for()


def answered(page, hands, photo):
    hands.ready(page)
    hands.choose(page, photo)
    page.wait_for_selector(hands.answer)


def of_head(page, head="kind.of thing"):
    return page.locator(".head-card", has=page.get_by_text(head, exact=True)).first


def test_one_tap_confirms(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    of_head(page).get_by_role("button", name="Right").click()
    told(page, "sent, thank you")
    (opinion,) = opinions()
    assert opinion["verdict"] == "confirmed"
    assert opinion["head"] == "kind.of thing"


def test_a_tap_counts_where_the_page_is_drawn_meanwhile(store, visit, hands, photo_of, colors):
    server, _ = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    button = of_head(page).get_by_role("button", name="Right")
    hands.redraw_while_pressed(page, button)
    told(page, "You: right")


def test_two_taps_correct(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    card = of_head(page)
    answer = card.locator(hands.answer.removeprefix("main ")).inner_text()
    card.get_by_role("button", name="Wrong").click()
    picked = page.locator(".pick").first
    label = picked.inner_text().lower()  # shown with a capital
    assert label != answer.lower()
    picked.click()
    told(page, "sent, thank you")
    (opinion,) = opinions()
    assert (opinion["verdict"], opinion["label"]) == ("corrected", label)


def test_a_missing_class_is_proposed(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    of_head(page).get_by_role("button", name="Wrong").click()
    page.get_by_text("Something else").click()
    page.get_by_label("Name of the missing class").fill("violet")
    page.get_by_role("button", name="Save").click()
    told(page, "sent, thank you")
    (opinion,) = opinions()
    assert (opinion["verdict"], opinion["label"]) == ("proposed", "violet")


def test_attributes_are_corrected_together(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    of_head(page, "marks").get_by_role("button", name="Correct it").click()
    for box in page.locator(".tick input").all():
        box.click()
    page.get_by_role("button", name="Save").click()
    told(page, "sent, thank you")
    (opinion,) = opinions()
    assert opinion["head"] == "marks"
    assert opinion["verdict"] == "corrected"


def test_what_is_said_offline_arrives_once_when_there_is_a_network(
    store, visit, hands, photo_of, colors
):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    with hands.no_network(page.context):
        of_head(page).get_by_role("button", name="Right").click()
        of_head(page, "grade").get_by_role("button", name="Not sure").click()
        told(page, "sent when there is a network")
        # Longer than a tap can be taken back, so that it was tried.
        page.wait_for_timeout(4_500)
        assert opinions() == []
    page.locator(".said.sent").nth(1).wait_for()
    assert sorted(each["verdict"] for each in opinions()) == ["confirmed", "unsure"]
    page.reload()
    page.locator(".said.sent").nth(1).wait_for()
    page.wait_for_timeout(500)
    assert len(opinions()) == 2


def test_what_does_not_get_through_holds_up_nothing_else(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))

    def too_slow(route):
        is_first = '"confirmed"' in (route.request.post_data or "")
        route.fulfill(status=408, json={}) if is_first else route.continue_()

    page.context.route("**/v2/feedback", too_slow)
    of_head(page).get_by_role("button", name="Right").click()
    of_head(page, "grade").get_by_role("button", name="Not sure").click()
    page.locator(".said.sent").first.wait_for()
    (opinion,) = opinions()
    assert opinion["verdict"] == "unsure"
    page.context.unroute("**/v2/feedback")
    page.reload()
    page.locator(".said.sent").nth(1).wait_for()
    assert len(opinions()) == 2


def test_what_waits_survives_the_page_being_closed(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    context = page.context
    with hands.no_network(context):
        of_head(page).get_by_role("button", name="Right").click()
        told(page, "sent when there is a network")
        page.wait_for_timeout(300)
        page.close()
    again = context.new_page()
    again.goto(f"{server.address}/#/history")
    again.wait_for_timeout(4_500)
    again.reload()
    again.locator(".tile").first.click()
    told(again, "sent, thank you")
    (opinion,) = opinions()
    assert opinion["verdict"] == "confirmed"


def test_without_https_the_photo_itself_names_the_photo(
    store, visit, hands, photo_of, colors, tmp_path
):
    """Browsers compute no hash and keep no page there."""
    server, opinions = store
    page = visit(f"http://{hands.elsewhere}:{server.port}")
    assert page.evaluate("() => isSecureContext") is False
    answered(page, hands, photo_of(colors["sure"]))
    of_head(page).get_by_role("button", name="Right").click()
    told(page, "sent, thank you")
    (opinion,) = opinions()
    assert opinion["verdict"] == "confirmed"
    assert not [each for each in tmp_path.rglob("*") if each.suffix == ".png"]


def test_a_tap_can_be_taken_back(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    with hands.no_network(page.context):
        of_head(page).get_by_role("button", name="Right").click()
        of_head(page).get_by_role("button", name="Undo").click()
        of_head(page).get_by_role("button", name="Not sure").click()
        told(page, "You: not sure")
    told(page, "sent, thank you")
    assert [each["verdict"] for each in opinions()] == ["unsure"]


def test_a_tap_is_taken_back_while_it_is_being_sent(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address, service_workers="block")  # requests of theirs cannot be held
    answered(page, hands, photo_of(colors["sure"]))
    held = []

    def hold(route):
        held.append(route)

    page.route("**/v2/feedback", hold)
    with page.expect_request("**/v2/feedback"):
        of_head(page).get_by_role("button", name="Right").click()
    of_head(page).get_by_role("button", name="Undo").click()
    with page.expect_response(lambda response: response.request.method == "DELETE") as deleted:
        held[0].continue_()
    assert deleted.value.json()["withdrawn"] == 1
    assert opinions() == []
    assert page.evaluate(HOW_MANY_WAIT) == 0


def test_a_tap_that_may_have_arrived_is_taken_back(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address, service_workers="block")
    answered(page, hands, photo_of(colors["sure"]))

    def unanswered(route):
        route.fetch()
        route.abort("connectionreset")

    page.route("**/v2/feedback", unanswered)
    with page.expect_event("requestfailed"):
        of_head(page).get_by_role("button", name="Right").click()
    assert len(opinions()) == 1
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        of_head(page).get_by_role("button", name="Undo").click()
    assert opinions() == []


@pytest.mark.parametrize("consent", [True, False])
def test_a_photo_is_kept_with_consent_alone(
    store, visit, hands, photo_of, colors, tmp_path, consent
):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    if consent:
        page.get_by_label("Let the photo be kept").check()
    of_head(page).get_by_role("button", name="Right").click()
    told(page, "sent, thank you")
    assert len(opinions()) == 1
    pictures = [each for each in tmp_path.rglob("*") if each.suffix in {".png", ".jpg", ".jpeg"}]
    assert len(pictures) == consent


def test_everything_is_deleted_from_the_device(store, visit, hands, photo_of, colors):
    server, opinions = store
    page = visit(server.address)
    answered(page, hands, photo_of(colors["sure"]))
    with hands.no_network(page.context):
        of_head(page).get_by_role("button", name="Right").click()
        told(page, "sent when there is a network")
        page.locator(".bottom").get_by_text("History").click()
        page.get_by_text("Opinions that wait for a network: 1").wait_for()
        page.get_by_role("button", name="Delete all").click()
        page.get_by_role("button", name="Delete all from this device").click()
        page.get_by_role("heading", name="What does your photo show?").wait_for()
    page.reload()
    hands.ready(page)
    page.locator(".bottom").get_by_text("History").click()
    page.get_by_text("No photos yet").wait_for()
    page.wait_for_timeout(4_500)
    assert opinions() == []
