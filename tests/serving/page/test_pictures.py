"""The page as the README shows it: on a phone and on a desktop, light and dark."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.inference.bundle import Bundle

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
PICTURES = PROJECT / ".github" / "pictures"

DESKTOP = {
    "viewport": {"width": 1200, "height": 800},
    "device_scale_factor": 1,
    "has_touch": False,
    "is_mobile": False,
}
VIEWS = {
    "page_phone_light": {"color_scheme": "light"},
    "page_phone_dark": {"color_scheme": "dark"},
    "page_desktop_light": {"color_scheme": "light", **DESKTOP},
    "page_desktop_dark": {"color_scheme": "dark", **DESKTOP},
}


@pytest.fixture(scope="module")
def shown(bundle_of):
    """What answers: the small bundle, or the one in PAGE_BUNDLE, whose pictures can be kept."""
    given = os.environ.get("PAGE_BUNDLE")
    return Bundle.open(given) if given else bundle_of()


@pytest.mark.parametrize("name", VIEWS)
def test_the_page_is_drawn_on_screens_of_every_kind(serve, shown, visit, hands, tmp_path, name):
    page = visit(serve(shown).address, reduced_motion="reduce", **VIEWS[name])
    hands.ready(page)
    photos = [
        {"name": f"photo {i}.png", "mimeType": "image/png", "buffer": shown.read(file)}
        for i, file in enumerate(shown.golden().photos[:3])
    ]
    hands.choose(page, *photos)
    page.wait_for_selector(hands.answer)
    page.wait_for_selector(".banner.asking.busy", state="detached")
    page.evaluate("() => document.fonts.ready")
    taken = tmp_path / f"{name}.png"
    page.screenshot(path=taken)
    picture = np.asarray(Image.open(taken).convert("L"), np.float64)
    corner = picture[:8, -8:].mean()
    assert corner > 200 if "light" in name else corner < 60
    assert picture.std() > 20  # something is drawn
    if os.environ.get("KEEP_PICTURES"):
        Image.open(taken).convert("RGB").quantize(256).save(PICTURES / taken.name, optimize=True)
