"""What kedro-viz shows first: the stages as boxes that open, as the picture in the README."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PICTURE = PROJECT / ".github" / "pictures" / "pipeline.png"

# kedro-viz keeps the settings of a person in the browser: light, and without hints to newcomers.
SETTINGS = (
    "<script>localStorage.setItem('KedroViz', JSON.stringify("
    "{theme: 'light', showFeatureHints: false, visible: {sidebar: false, miniMap: false}}));"
    "</script>"
)


@pytest.fixture
def site(tmp_path, copy_project):
    """kedro-viz of the project as a site, and its address."""
    pytest.importorskip("kedro_viz", reason="kedro-viz is not installed: pip install -e '.[viz]'")
    project = copy_project(tmp_path / "project")
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "DO_NOT_TRACK": "1"}
    subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build"], cwd=project, env=environment, check=True
    )
    page = project / "build" / "index.html"
    page.write_text(page.read_text().replace("<head>", f"<head>{SETTINGS}", 1))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _open(browser, tmp_path, address, *how):
    return subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",  # refused to root without it; the page is our own
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1200,900",
            "--virtual-time-budget=20000",
            f"--user-data-dir={tmp_path / 'browser'}",
            *how,
            address,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_kedro_viz_opens_on_the_stages_and_its_picture_stands_in_the_readme(
    chromium, site, tmp_path
):
    from PIL import Image

    from cannabis_ml.pipeline_registry import STAGES

    address = f"{site}/?types=nodes"
    page = _open(chromium, tmp_path, address, "--dump-dom")
    assert page.count("pipeline-node--modularPipeline") == len(STAGES)
    for stage in STAGES:
        assert f">{stage}<" in page
    drawn = tmp_path / "pipeline.png"
    _open(chromium, tmp_path, address, f"--screenshot={drawn}")
    with Image.open(drawn) as picture:
        assert picture.size == (1200, 900)
        assert len(picture.convert("L").getcolors(256)) > 16  # something is drawn on it
    if os.environ.get("KEEP_PICTURES"):
        shutil.copy(drawn, PICTURE)
    assert PICTURE.is_file(), f"make it: KEEP_PICTURES=1 pytest {Path(__file__).name}"
    assert PICTURE.relative_to(PROJECT).as_posix() in (PROJECT / "README.md").read_text()
