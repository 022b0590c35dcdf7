"""The page's numeric core, compiled, under node."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "src" / "cannabis_ml" / "serving" / "page"
CORE = PAGE / "source" / "core"
ESBUILD = PAGE / "node_modules" / ".bin" / "esbuild"
DRIVER = Path(__file__).with_name("driver.ts")


@pytest.fixture(scope="session")
def cases():
    """The module that draws random bundles."""
    path = Path(__file__).with_name("cases.py")
    spec = importlib.util.spec_from_file_location("core_cases", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """`core("answer", [case, …])`: what the TypeScript makes of each."""
    node = shutil.which("node")
    if node is None or not ESBUILD.exists():
        pytest.skip("node or esbuild is missing: make page")
    folder = tmp_path_factory.mktemp("core")
    script = folder / "driver.mjs"
    subprocess.run(
        [
            *(ESBUILD, DRIVER, "--bundle", "--platform=node", "--format=esm"),
            *(f"--alias:CORE={CORE}", f"--outfile={script}", "--log-level=warning"),
        ],
        check=True,
    )

    def ask(kind, cases):
        given, answered = folder / "cases.json", folder / "answers.json"
        given.write_text(json.dumps([{"kind": kind, **case} for case in cases]))
        done = subprocess.run(
            [node, script, given, answered], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(answered.read_text(), object_hook=_with_floats)

    return ask


def _with_floats(found):
    return float(found["not finite"]) if found.keys() == {"not finite"} else found
