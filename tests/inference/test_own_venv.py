"""Environments that have only what `pip install cannabis_ml[inference]` or `[tensorflow]` brings.

Of the first, one takes the newest versions and one the lowest that pyproject.toml allows; of
TensorFlow it allows one minor version alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.exporting.quantize import QUANTIZATIONS
from cannabis_ml.inference.golden import ROUNDED
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.inference.runtimes import NAMES

pytestmark = pytest.mark.slow

ABSENT = ("torch", "kedro", "mlflow", "pandas", "datasets", "onnx", "sklearn")

RUNTIMES = {"inference": ("litert", "onnxruntime"), "tensorflow": ("tensorflow", "onnxruntime")}
"""By extra; each has its own interpreter of TFLite files, and not the other's."""

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

NOT_PASSED = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
"""Of our own environment. What they import is compiled once, not by each process."""

ENVIRONMENTS = [("inference", "newest"), ("inference", "lowest"), ("tensorflow", "newest")]


def run(*command, expected=0, **options):
    """What it printed; of one that is expected to fail, what it complained of."""
    clean = {k: v for k, v in os.environ.items() if k not in NOT_PASSED}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean, timeout=900, **options
    )
    assert done.returncode == expected, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stderr if expected else done.stdout


def pip(*arguments):
    """Our own pip, which installs into other environments too: theirs would take as long again."""
    return run(sys.executable, "-m", "pip", *arguments)


def lowest_versions(pyproject, extra):
    """`name>=1.2` -> `name==1.2` for everything that answering needs."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found = [re.fullmatch(r"([\w-]+)>=([\w.]+)(?:,<[\w.]+)?(;.*)?", each) for each in needed]
    assert all(found), needed
    return [
        f"{name}=={version}{marker or ''}" for name, version, marker in (f.groups() for f in found)
    ]


@pytest.fixture(scope="session")
def wheel(once, copy_project):
    """The package as it would be published."""

    def build(folder):
        tree = copy_project(folder / "tree")
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(tree))
        shutil.rmtree(tree)

    (path,) = once("wheel", build).glob("*.whl")
    return path


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids="-".join)
def environment(request, once, wheel):
    """The Python of such an environment, and its extra."""
    extra, versions = request.param
    if versions == "lowest" and sys.version_info >= (3, 12):
        pytest.skip("the lowest versions have no wheels for Python 3.12 and newer")

    def install(folder):
        run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        pins = lowest_versions(PYPROJECT, extra) if versions == "lowest" else []
        names = ",".join(pin.partition("==")[0] for pin in pins)
        only = ["--only-binary", names] if pins else []
        into = ("--python", str(folder / "venv/bin/python"), "install", "--quiet", "--no-compile")
        pip(*into, *only, *pins, f"{wheel}[{extra}]")

    return str(once(f"{extra}-{versions}", install) / "venv/bin/python"), extra


@pytest.fixture
def python(environment):
    return environment[0]


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


def test_golden_photos_pass_on_every_runtime_and_no_other_is_there(environment, written):
    python, extra = environment
    check = [python, "-m", "cannabis_ml.inference", str(written), "--check", "--json"]
    taken = set()
    for name in NAMES:
        if name not in RUNTIMES[extra]:
            done = run(*check, "--runtime", name, expected=2)
            assert "pip install 'cannabis_ml[" in done
            continue
        report = json.loads(run(*check, "--runtime", name))
        assert report["passed"]
        files = [found for kinds in report["tiers"].values() for found in kinds.values()]
        assert {found["runtime"] for found in files} == {name}
        taken |= {found["file"] for found in files}
        for found in files:
            assert set(found["same_decision"].values()) == {1.0}
            assert set(found["same_set"].values()) <= {1.0}
            assert found["same_unknown"] in (None, 1.0)
            assert found["same_rules"]
        assert any(found["same_set"] and found["same_unknown"] == 1 for found in files) == (
            name != "onnxruntime"  # tier 2 of this bundle has neither sets nor unknown score
        )
    assert len(taken) == 3  # all that the bundle has


def test_readme_prints_a_class_name(python, written, photos, small, tmp_path):
    Image.fromarray(photos(1)[0]).save(tmp_path / "photo.jpg")
    shutil.copy(written.with_name("bundle.zip"), tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    block = readme.partition("```python\nfrom cannabis_ml.inference import")[2].partition("```")[0]
    code = f"from cannabis_ml.inference import{block}".replace("product_type", "kind.of thing")
    first = run(python, "-c", code, cwd=tmp_path).splitlines()[0]
    assert first in small.taxonomy["kind.of thing"].class_names


COMPARE = """
import sys, numpy as np
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.inference.runtimes import NAMES
from cannabis_ml.inference.runtimes import NAMES
for path in sys.argv[1:]:
    given = np.load(path + ".npz")
    tier = open_model(path)
    answers = tier.outputs(list(given["photos"]), batch_size=1)
    for head in tier.taxonomy.heads:
        print('apart', path, head.name, float(np.abs(answers[head.name] - given[head.name]).max()))
"""


@pytest.fixture(scope="module")
def quantized(quantized_files, tmp_path_factory):
    """Files of every quantization of one small network, with the answers that are given here."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("answers")
    found = []
    for kind in ("onnx", "tflite"):
        for quantization in QUANTIZATIONS:
            path = shutil.copy(quantized_files.path(kind, quantization), folder)
            answers = open_model(path).outputs(list(pixels), batch_size=1)
            np.savez(f"{path}.npz", photos=pixels, **answers)
            found.append(str(path))
    return found


def test_it_answers_alike_from_files_of_every_quantization(python, quantized, quantized_files):
    told = run(python, "-c", COMPARE, *quantized).splitlines()
    told = [line for line in told if line.startswith("apart ")]
    assert len(told) == len(quantized) * len(quantized_files.taxonomy.heads)
    assert [line for line in told if float(line.rpartition(" ")[2]) > ROUNDED] == []


def test_nothing_heavy_came_along(environment):
    python, extra = environment
    asked = "import importlib.util as u, json, sys; "
    asked += "print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"
    assert json.loads(run(python, "-c", asked, *ABSENT)) == []
    others = {"inference": "tensorflow", "tensorflow": "ai_edge_litert"}
    assert json.loads(run(python, "-c", asked, others[extra])) == []
    pip("--python", python, "check")


def test_its_types_are_for_everybody(python):
    asked = "from importlib.resources import files; "
    asked += "print((files('cannabis_ml') / 'py.typed').is_file())"
    assert run(python, "-c", asked).strip() == "True"


def test_its_texts_came_along(python):
    asked = "from cannabis_ml.inference.language import languages, texts_in; "
    asked += "print(*[texts_in(language).name for language in languages()])"
    assert run(python, "-c", asked).split() == ["English", "Español"]


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
