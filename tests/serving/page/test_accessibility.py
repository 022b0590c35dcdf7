"""Reachable by keyboard and screen reader, in every view; axe-core looks for what is not."""

import pytest

pytestmark = pytest.mark.slow

SCHEMES = ["light", "dark"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [{"width": 360, "height": 740}, {"width": 1280, "height": 900}])
def test_axe_finds_nothing(address, visit, hands, photo_of, colors, faults, scheme, size):
    page = visit(address, color_scheme=scheme, viewport=size, reduced_motion="reduce")
    hands.ready(page)
    found = faults(page)
    hands.choose(page, photo_of(colors["unsure"]))
    page.wait_for_selector(".banner.better")
    page.locator("summary").first.click()
    page.locator(".say.right").last.click()
    page.locator(".said").first.wait_for()  # the page is drawn anew: an earlier tap may miss
    found += faults(page)
    page.locator(".say.wrong").first.click()
    page.wait_for_selector(".sheet")
    found += faults(page)
    page.keyboard.press("Escape")
    hands.choose(page, photo_of(colors["unknown"]))
    page.wait_for_selector(".banner.unknown")
    found += faults(page)
    hands.choose(page, {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no photo"})
    page.wait_for_selector(".banner.fault")
    found += faults(page)
    for view in ("History", "About"):
        page.locator(".bottom").get_by_text(view).click()
        page.get_by_role("heading", name=view, level=1).wait_for()
        found += faults(page)
    assert found == []


def test_axe_finds_a_fault_that_is_there(address, visit, hands, faults):
    page = visit(address)
    hands.ready(page)
    page.evaluate("() => document.body.append(document.createElement('img'))")
    assert any(fault.startswith("image-alt") for fault in faults(page))


def test_the_answer_is_announced(address, visit, hands, photo_of, colors):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)
    answer = page.locator(hands.answer).first.inner_text().lower()
    page.locator("#live", has_text=answer).wait_for(state="attached")
    assert "sure" in page.locator("#live").text_content()


def test_the_keyboard_alone_gives_an_opinion(address, visit, hands, photo_of, colors):
    page = visit(address)
    hands.ready(page)
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)

    def press_until(condition, key="Tab"):
        for _ in range(60):
            page.keyboard.press(key)
            if page.evaluate(condition):
                return
        raise AssertionError("not reached by the keyboard")

    press_until("() => document.activeElement.classList.contains('wrong')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sheet")
    press_until("() => document.activeElement.classList.contains('pick')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".said")
    assert page.locator(".sheet").count() == 0


def test_nothing_is_wider_than_a_small_phone(address, visit, hands, photo_of, colors):
    page = visit(address, viewport={"width": 320, "height": 600}, locale="es-ES")
    hands.ready(page)

    def overflow():
        return page.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    widths = [overflow()]
    hands.choose(page, photo_of(colors["unsure"]))
    page.wait_for_selector(".banner.better")
    widths.append(overflow())
    page.locator(".bottom a").last.click()
    page.wait_for_selector(".markdown")
    widths.append(overflow())
    assert max(widths) <= 0


def test_the_page_speaks_spanish(address, visit, hands, photo_of, colors):
    page = visit(address, locale="es-ES")
    hands.ready(page)
    assert page.get_by_role("heading", name="¿Qué muestra su foto?").count() == 1
    assert page.evaluate("() => document.documentElement.lang") == "es"
    hands.choose(page, photo_of(colors["sure"]))
    page.wait_for_selector(hands.answer)
    assert page.get_by_text("¿Es correcto?").count() > 0
    page.get_by_label("Idioma").select_option("en")
    page.get_by_text("Is that right?").first.wait_for()
    page.locator(".source", has_text="Answered on this device").wait_for()
