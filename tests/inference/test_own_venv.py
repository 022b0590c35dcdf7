"""An environment that has only what `pip install cannabis_ml[inference]` brings."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ABSENT = ("torch", "tensorflow", "kedro", "mlflow", "pandas", "datasets", "onnx", "sklearn")


def run(*command, **options):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean, timeout=900, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def python(copy_project, tmp_path_factory):
    """The Python of that environment."""
    home = tmp_path_factory.mktemp("venv")
    tree = copy_project(home / "tree")
    run(sys.executable, "-m", "venv", str(home / "venv"))
    python = home / "venv" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", f"{tree}[inference]")
    shutil.rmtree(tree)
    return str(python)


def test_it_answers_from_a_bundle(python, written, photos, tmp_path):
    Image.fromarray(photos(1)[0]).save(tmp_path / "photo.png")
    for tier in ("tier1", "tier2"):
        command = [python, "-m", "cannabis_ml.inference", str(written.with_name("bundle.zip"))]
        out = run(*command, "photo.png", "--json", "--tier", tier, cwd=tmp_path)
        assert json.loads(out)["photo"] == "photo.png"
    report = json.loads(
        run(python, "-m", "cannabis_ml.inference", str(written), "--check", "--json")
    )
    assert report["passed"]


def test_nothing_heavy_came_along(python):
    asked = "import importlib.util as u, json, sys; "
    asked += "print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"
    assert json.loads(run(python, "-c", asked, *ABSENT)) == []
    run(python, "-m", "pip", "check")


def test_every_module_of_inference_can_be_imported(python):
    run(
        python,
        "-c",
        "import importlib, pkgutil, cannabis_ml.inference as room\n"
        "names = [m.name for m in pkgutil.iter_modules(room.__path__) if m.name != '__main__']\n"
        "assert len(names) > 8, names\n"
        "for name in names: importlib.import_module(f'{room.__name__}.{name}')\n"
        "import cannabis_ml.taxonomy, cannabis_ml.photos.decode, cannabis_ml.photos.resize\n",
    )
