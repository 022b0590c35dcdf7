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
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cases():
    """The module that draws random bundles."""
    path = HERE / "cases.py"
    spec = importlib.util.spec_from_file_location("core_cases", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """`compiled("driver.ts", "--platform=node")`: where the script lies with the core in it."""
    if shutil.which("node") is None or not ESBUILD.exists():
        pytest.skip("node or esbuild is missing: make page")
    folder = tmp_path_factory.mktemp("core")

    def build(name, *options):
        script = (folder / name).with_suffix(".mjs")
        command = [ESBUILD, HERE / name, "--bundle", f"--alias:CORE={CORE}", *options]
        subprocess.run([*command, f"--outfile={script}", "--log-level=warning"], check=True)
        return script

    return build


@pytest.fixture(scope="session")
def core(compiled, tmp_path_factory):
    """`core("answer", [case, …])`: what the TypeScript makes of each."""
    script = compiled("driver.ts", "--platform=node", "--format=esm")
    folder = tmp_path_factory.mktemp("cases")

    def ask(kind, cases):
        given, answered = folder / "cases.json", folder / "answers.json"
        given.write_text(json.dumps([{"kind": kind, **case} for case in cases]))
        done = subprocess.run(
            ["node", script, given, answered], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(answered.read_text(), object_hook=_with_floats)

    return ask


def _with_floats(found):
    return float(found["not finite"]) if found.keys() == {"not finite"} else found
