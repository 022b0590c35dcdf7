"""What a process finds in its environment, each tried in a process of its own."""

import os
from pathlib import Path

import pytest

from cannabis_ml._io.openmp import SPIN_COUNT

PROJECT = Path(__file__).parents[2]
OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

SESSION = """
from pathlib import Path
from kedro.framework.startup import bootstrap_project
from kedro.framework.session import KedroSession
bootstrap_project(Path.cwd())
KedroSession.create(project_path=Path.cwd())
"""
MODULE = """
import runpy
try:
    runpy.run_module("cannabis_ml", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
"""
NOTEBOOK = """
from IPython.testing.globalipapp import start_ipython
start_ipython().run_line_magic("load_ext", "kedro.ipython")
"""
WAYS = {"kedro run": SESSION, "python -m cannabis_ml": MODULE, "a notebook": NOTEBOOK}


@pytest.fixture(scope="module")
def spins_after(processes):
    """GOMP_SPINCOUNT once the code has run, and whether PyTorch was loaded by then."""

    def spins_after(code, **environment):
        clean = {name: value for name, value in os.environ.items() if name not in OPENMP}
        code += "\nimport os, sys"
        code += "\nprint('AND', os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
        done = processes.run(
            ["-c", code, "--help"],
            cwd=PROJECT,
            env=clean | {"DO_NOT_TRACK": "1"} | environment,
        )
        assert done.returncode == 0, done.stderr
        spins, loaded = done.stdout.rpartition("AND ")[2].split()
        return spins, loaded == "True"

    return spins_after


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_idle_threads_spin_little_whatever_starts_a_run(spins_after, way):
    assert spins_after(WAYS[way]) == (SPIN_COUNT, False)


@pytest.mark.parametrize("name", OPENMP)
def test_what_the_user_has_set_stays(spins_after, name):
    spins, _ = spins_after("import cannabis_ml.settings", **{name: "1"})
    assert spins == ("1" if name == "GOMP_SPINCOUNT" else "None")


def test_importing_the_package_changes_nothing(spins_after):
    assert spins_after("import cannabis_ml") == ("None", False)
